/** The command line of busbar-edge. */

import { InvalidArgumentError, Option } from 'commander'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import { type CommandLine, commandLine } from '../../shared/cli/program.ts'
import { runUntilSignal } from '../../shared/cli/run-until-signal.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import { systemClock } from '../../shared/clock.ts'
import { renderExample } from '../../shared/config/example.ts'
import { createLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { CREDENTIAL_ROLES } from '../broker/credentials.ts'
import {
  EDGE_CONFIG_VARIABLE,
  EDGE_ENV_PREFIX,
  type EdgeConfig,
  EdgeConfigSchema,
  ENROLMENT_TOKEN_VARIABLE,
  loadEdgeConfig,
  showEdgeConfig,
} from '../config.ts'
import { addAuthorityCommands } from './authority-commands.ts'
import { type AddOptions, addDevice, listDevices, removeDevice } from './devices.ts'
import { doctorCommand } from './doctor/doctor.ts'
import type { EnrollOptions } from './enroll.ts'
import { statusCommand } from './status.ts'

interface ConfigOption {
  readonly config?: string
}
interface JsonOption {
  readonly json: boolean
}

const tools = { clock: systemClock, random: systemRandom }

/** @param env of the process: settings, and where the config file is. */
export function edgeCommandLine(terminal: Terminal, env: Readonly<Record<string, string | undefined>>): CommandLine {
  const line = commandLine('busbar-edge', 'MQTT broker and store-and-forward gateway of a substation', terminal)
  const { program, action } = line
  const configOption = () =>
    new Option('-c, --config <file>', 'TOML file; without one environment and defaults apply').env(EDGE_CONFIG_VARIABLE)
  const jsonOption = () => new Option('--json', 'print JSON, for programs').default(false)

  // Commands about files and ports of this machine do not need to know which gateway it is.
  const loadLocal = (file: string | undefined): EdgeConfig =>
    loadEdgeConfig(file, { [`${EDGE_ENV_PREFIX}GATEWAY_ID`]: 'unnamed', ...env })

  program
    .command('run')
    .description('run the gateway until SIGTERM or SIGINT')
    .addOption(configOption())
    .action(
      action(async ({ config: file }: ConfigOption) => {
        const config = loadEdgeConfig(file, env)
        const log = createLogger({ ...config.log, name: 'busbar-edge' })
        // Only here, so that the other commands start without loading broker, spool and uplink.
        const { createGateway } = await import('../gateway.ts')
        return await runUntilSignal(createGateway(config, { ...tools, log }), log)
      }),
    )

  program
    .command('enroll')
    .description('exchange a token of the cloud for the certificate of this gateway')
    .requiredOption('--url <https-url>', 'API of the cloud')
    .option(
      '--token-file <file>',
      `file that holds the token, "-" for standard input; or set ${ENROLMENT_TOKEN_VARIABLE}`,
    )
    .option('--token <token>', 'the token itself, which other users of this machine may see while the command runs')
    .option(
      '--ca-file <file>',
      'what the API is trusted by, PEM, where that is neither public nor the authority of the token',
    )
    .option('--replace', 'take the place of an identity that is there', false)
    .addOption(configOption())
    .addOption(jsonOption())
    .action(
      action(async ({ config, ...options }: ConfigOption & EnrollOptions) => {
        // Only here: the other commands do not need what asks and what makes keys.
        const { enrollCommand } = await import('./enroll.ts')
        return await enrollCommand(
          loadEdgeConfig(config, env),
          options,
          env[ENROLMENT_TOKEN_VARIABLE],
          terminal,
          systemClock,
        )
      }),
    )

  program
    .command('doctor')
    .description('check config, disk, clock, ports, enrolment and uplink, and say what to do')
    .addOption(configOption())
    .addOption(jsonOption())
    .action(
      action(({ config, json }: ConfigOption & JsonOption) =>
        doctorCommand({ json, loadConfig: () => loadEdgeConfig(config, env), ...tools }, terminal),
      ),
    )

  program
    .command('status')
    .description('show queue, lag, link and devices of the gateway that runs here')
    .addOption(configOption())
    .addOption(jsonOption())
    .action(
      action(({ config, json }: ConfigOption & JsonOption) =>
        statusCommand(loadLocal(config), { json }, terminal, systemClock),
      ),
    )

  const config = program.command('config').description('the config file')
  config
    .command('example')
    .description('print every key with its meaning, range and default')
    .action(
      action(() => {
        terminal.out(renderExample(EdgeConfigSchema, EDGE_ENV_PREFIX))
        return EXIT_OK
      }),
    )
  config
    .command('show')
    .description('print the settings in force and where each comes from; secrets are hidden')
    .addOption(configOption())
    .action(
      action(({ config: file }: ConfigOption) => {
        terminal.out(showEdgeConfig(file, env))
        return EXIT_OK
      }),
    )
  config
    .command('check')
    .description('check a config without running')
    .addOption(configOption())
    .action(
      action(({ config: file }: ConfigOption) => {
        const { gateway } = loadEdgeConfig(file, env)
        terminal.out(`the config of gateway ${gateway.id} is valid\n`)
        return EXIT_OK
      }),
    )

  const device = program.command('device').description('who may log in to the MQTT broker')
  device
    .command('add')
    .description('add a login and print its password')
    .addOption(new Option('--site <id>', 'site of the device').argParser(positiveInteger))
    .option('--serial <number>', 'serial number of the device')
    .addOption(new Option('--role <role>', 'what it may do').choices(CREDENTIAL_ROLES).default('device'))
    .option('--username <name>', 'name to log in by; a device has its serial number by default')
    .addOption(configOption())
    .addOption(jsonOption())
    .action(
      action((options: AddOptions & ConfigOption) => addDevice(loadLocal(options.config), options, terminal, tools)),
    )
  device
    .command('list')
    .description('list the logins')
    .addOption(configOption())
    .addOption(jsonOption())
    .action(action((options: ConfigOption & JsonOption) => listDevices(loadLocal(options.config), options, terminal)))
  device
    .command('remove <username>')
    .description('remove a login')
    .addOption(configOption())
    .action(
      action((username: string, { config: file }: ConfigOption) => removeDevice(loadLocal(file), username, terminal)),
    )
  addAuthorityCommands(program, { action, configOption, jsonOption, loadConfig: loadLocal, terminal, tools })
  return line
}

function positiveInteger(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('It must be a positive integer.')
  return Number(text)
}
