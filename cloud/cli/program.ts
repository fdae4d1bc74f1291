/** The command line of busbar-cloud. */

import { Option } from 'commander'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import { type CommandLine, commandLine } from '../../shared/cli/program.ts'
import { runUntilSignal, type Stoppable } from '../../shared/cli/run-until-signal.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import { systemClock } from '../../shared/clock.ts'
import { renderExample } from '../../shared/config/example.ts'
import { createLogger, type Logger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { ACL_SERVICES } from '../bus/acls.ts'
import {
  CLOUD_CONFIG_VARIABLE,
  CLOUD_ENV_PREFIX,
  type CloudConfig,
  CloudConfigSchema,
  loadCloudConfig,
  showCloudConfig,
} from '../config.ts'
import type { Core } from '../core.ts'
import { addActivityCommands } from './activity.ts'
import { addApiKeyCommands } from './api-keys.ts'
import { apiTools } from './api-options.ts'
import { addApprovalCommands } from './approvals.ts'
import { addChatCommands } from './chat.ts'
import { addCommandCommands } from './commands.ts'
import { addDeadLetterCommands } from './dead-letters.ts'
import { addGatewayCommands } from './gateways.ts'
import { addLoginCommands } from './login.ts'
import { type SecretInput, secretInput } from './secret-input.ts'
import { addTaskCommands } from './tasks.ts'
import { ACL_FORMATS, type AclOptions, printAcls } from './topic-acls.ts'
import { checkTopics, createTopics } from './topics.ts'
import { addUserCommands } from './users.ts'

interface ConfigOption {
  readonly config?: string
}
interface JsonOption {
  readonly json: boolean
}

const tools = { clock: systemClock, random: systemRandom }

/** @param env of the process: settings, and where the config file is. */
export function cloudCommandLine(
  terminal: Terminal,
  env: Readonly<Record<string, string | undefined>>,
  input: SecretInput = secretInput(process),
): CommandLine {
  const line = commandLine('busbar-cloud', 'Cloud core: takes in what gateways send and serves operators', terminal)
  const { program, action } = line
  const configOption = () =>
    new Option('-c, --config <file>', 'TOML file; without one environment and defaults apply').env(
      CLOUD_CONFIG_VARIABLE,
    )

  program
    .command('serve')
    .description('run the core until SIGTERM or SIGINT')
    .addOption(configOption())
    .action(
      action(async ({ config: file }: ConfigOption) => {
        const config = loadCloudConfig(file, env)
        const log = createLogger({ ...config.log, name: 'busbar-cloud' })
        // Only here, so that the other commands start without loading the core.
        const { createCore } = await import('../core.ts')
        return await runUntilSignal(serving(createCore(config, { ...tools, log }), config, terminal), log)
      }),
    )

  const topics = program.command('topics').description('topics of the bus')
  topics
    .command('check')
    .description('compare the topics with the catalogue; status 1 when they differ')
    .addOption(configOption())
    .addOption(new Option('--json', 'print JSON, for programs').default(false))
    .action(
      action(async ({ config, json }: ConfigOption & JsonOption) =>
        checkTopics(await openBus(loadCloudConfig(config, env)), { json }, terminal, systemClock),
      ),
    )
  topics
    .command('create')
    .description('create the topics that are missing')
    .addOption(configOption())
    .action(
      action(async ({ config }: ConfigOption) =>
        createTopics(await openBus(loadCloudConfig(config, env)), terminal, systemClock),
      ),
    )

  topics
    .command('acls')
    .description('print what a user of Kafka must be allowed to do to be the core, and nothing beyond')
    .requiredOption('--principal <name>', 'the user as Kafka names it, such as User:busbar')
    .addOption(
      new Option('--service <name...>', 'for a part of the core only; topic-setup makes the topics').choices(
        ACL_SERVICES,
      ),
    )
    .addOption(new Option('--format <format>', 'how to print it').choices(ACL_FORMATS).default('commands'))
    .action(action((options: AclOptions) => printAcls(options, terminal)))

  const asking = apiTools(terminal, env, tools)
  addLoginCommands(line, asking, input, env.USER ?? '')
  addUserCommands(line, asking)
  addApiKeyCommands(line, asking)
  addTaskCommands(line, asking, env.USER ?? 'busbar-cloud')
  addCommandCommands(line, asking)
  addApprovalCommands(line, asking)
  addDeadLetterCommands(line, asking)
  addActivityCommands(line, { ...asking, env, random: systemRandom, log: commandLog })
  addGatewayCommands(line, asking)
  addChatCommands(line, { ...asking, random: systemRandom }, env.USER ?? '')

  program
    .command('setup-link')
    .description('make a new link by which the first administrator is set up, while there is none')
    .addOption(configOption())
    .action(
      action(async ({ config: file }: ConfigOption) => {
        const config = loadCloudConfig(file, env)
        const [{ databaseFromConfig }, { makeSetupLink }] = await Promise.all([
          import('../database-from-config.ts'),
          import('./setup-link.ts'),
        ])
        const log = commandLog(config)
        return await makeSetupLink(
          config,
          { ...tools, database: databaseFromConfig(config, { ...tools, log }), log },
          terminal,
        )
      }),
    )
  program
    .command('migrate')
    .description('bring the database to the schema of this program')
    .addOption(configOption())
    .action(
      action(async ({ config: file }: ConfigOption) => {
        const config = loadCloudConfig(file, env)
        const [{ databaseFromConfig }, { migrateDatabase }] = await Promise.all([
          import('../database-from-config.ts'),
          import('./migrate.ts'),
        ])
        return migrateDatabase(databaseFromConfig(config, { ...tools, log: commandLog(config) }), terminal)
      }),
    )

  const config = program.command('config').description('the config file')
  config
    .command('example')
    .description('print every key with its meaning, range and default')
    .action(
      action(() => {
        terminal.out(renderExample(CloudConfigSchema, CLOUD_ENV_PREFIX))
        return EXIT_OK
      }),
    )
  config
    .command('show')
    .description('print the settings in force and where each comes from; secrets are hidden')
    .addOption(configOption())
    .action(
      action(({ config: file }: ConfigOption) => {
        terminal.out(showCloudConfig(file, env))
        return EXIT_OK
      }),
    )
  config
    .command('check')
    .description('check a config without running')
    .addOption(configOption())
    .action(
      action(({ config: file }: ConfigOption) => {
        loadCloudConfig(file, env)
        terminal.out('the config is valid\n')
        return EXIT_OK
      }),
    )
  return line
}

/** For topics alone: who reads and writes no values has nothing to register. */
async function openBus({ kafka, ...config }: CloudConfig) {
  const { busFromConfig } = await import('../bus-from-config.ts')
  const schemaRegistry = { ...kafka.schemaRegistry, url: '' }
  return busFromConfig({ ...config, kafka: { ...kafka, schemaRegistry } }, { ...tools, log: commandLog(config) })
}

/** A command that answers on standard output says only what is wrong in its log. */
function commandLog(config: Pick<CloudConfig, 'log'>): Logger {
  const level = config.log.level === 'silent' || config.log.level === 'error' ? config.log.level : 'warn'
  return createLogger({ level, format: config.log.format, name: 'busbar-cloud' })
}

/** The core, which prints the link by which the first administrator is made while there is none. */
function serving(core: Core, config: CloudConfig, terminal: Terminal): Stoppable {
  return {
    async start() {
      await core.start()
      const link = (await core.identity?.setup.ensureSetupLink()) ?? null
      if (link === null) return
      const { publicUrlOf, setupLinkText } = await import('./setup-link.ts')
      terminal.out(setupLinkText(publicUrlOf(config, core.api.address().port), link))
    },
    stop: () => core.stop(),
  }
}
