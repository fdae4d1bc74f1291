/** The subcommands of `busbar-edge ca`, as they are typed. */

import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Action } from '../../shared/cli/program.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import type { Random } from '../../shared/random.ts'
import { SERVER_DAYS } from '../authority/server-certificate.ts'
import { AUTHORITY_DAYS, CLIENT_DAYS } from '../authority/site-authority.ts'
import { CREDENTIAL_ROLES } from '../broker/credentials.ts'
import type { EdgeConfig } from '../config.ts'
import { type IssueOptions, initCommand, issueCommand, listCommand, revokeCommand, serverCommand } from './authority.ts'

interface Line {
  readonly action: <A extends readonly unknown[]>(fn: Action<A>) => (...args: A) => Promise<void>
  readonly configOption: () => Option
  readonly jsonOption: () => Option
  readonly loadConfig: (file: string | undefined) => EdgeConfig
  readonly terminal: Terminal
  readonly tools: { readonly clock: Clock; readonly random: Random }
}

interface ConfigOption {
  readonly config?: string
}

export function addAuthorityCommands(
  program: Command,
  { action, configOption, jsonOption, loadConfig, terminal, tools }: Line,
): void {
  const ca = program.command('ca').description("the site's certificate authority: devices and tools without passwords")
  const days = (value: number, what: string) =>
    new Option('--days <n>', `how long ${what} is valid`).argParser(numberOf(36_500)).default(value)

  ca.command('init')
    .description('make the authority; its key stays on this gateway')
    .addOption(days(AUTHORITY_DAYS, 'it'))
    .addOption(configOption())
    .action(
      action((options: ConfigOption & { days: number }) =>
        initCommand(loadConfig(options.config), options, terminal, tools),
      ),
    )
  ca.command('issue')
    .description('make a certificate for a device, an observer or an operator')
    .addOption(new Option('--site <id>', 'site of the device').argParser(numberOf(999_999_999)))
    .option('--serial <number>', 'serial number of the device')
    .addOption(new Option('--role <role>', 'what it may do').choices(CREDENTIAL_ROLES).default('device'))
    .option('--username <name>', 'name of an observer or operator')
    .option('--csr <file>', 'certificate request of a device that made its own key; only its key is taken from it')
    .option('--out <dir>', 'where to write', '.')
    .addOption(days(CLIENT_DAYS, 'it'))
    .addOption(configOption())
    .action(
      action((options: IssueOptions & ConfigOption) =>
        issueCommand(loadConfig(options.config), options, terminal, tools),
      ),
    )
  ca.command('list')
    .description('list what was issued')
    .addOption(configOption())
    .addOption(jsonOption())
    .action(
      action((options: ConfigOption & { json: boolean }) =>
        listCommand(loadConfig(options.config), options, terminal, tools),
      ),
    )
  ca.command('revoke [whose]')
    .description('let certificates in no more: those of a serial number or username, or one by its number')
    .option('--number <hex>', 'serial number of a certificate, also of another authority')
    .addOption(configOption())
    .action(
      action((whose: string | undefined, options: ConfigOption & { number?: string }) =>
        revokeCommand(loadConfig(options.config), whose, options, terminal, tools),
      ),
    )
  ca.command('server')
    .description("make the broker's certificate anew; a running broker makes and renews it by itself")
    .option(
      '--name <name>',
      'host name or address besides those of this machine; may be repeated',
      (name: string, names: readonly string[]) => [...names, name],
      [] as readonly string[],
    )
    .addOption(days(SERVER_DAYS, 'it'))
    .addOption(configOption())
    .action(
      action((options: ConfigOption & { name: readonly string[]; days: number }) =>
        serverCommand(loadConfig(options.config), options, terminal, tools),
      ),
    )
}

function numberOf(maximum: number): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (/^[1-9]\d{0,8}$/.test(text) && number <= maximum) return number
    throw new InvalidArgumentError(`It must be a whole number from 1 to ${maximum}.`)
  }
}
