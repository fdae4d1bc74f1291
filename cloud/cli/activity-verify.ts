/** `busbar-cloud activity verify`: whether the activity log is as it was written. */

import { type Command, InvalidArgumentError, Option } from 'commander'
import type { CommandLine } from '../../shared/cli/program.ts'
import { isDay } from '../activity/days.ts'
import { CLOUD_CONFIG_VARIABLE, loadCloudConfig } from '../config.ts'
import type { ActivityTools } from './activity.ts'

export interface VerifyFlags {
  readonly config?: string
  readonly day?: string
  readonly from?: string
  readonly to?: string
  readonly against?: string
  readonly json: boolean
}

const HELP = `
Status 0: everything is as it was written; 1: something is not; 2: it could not be found out, as when a key is missing.

It reads the database and the keys that the config names, and asks no core. Days are those of storing, UTC. What was cut off
at the newest end leaves no trace in a database: keep reports where it is not, and compare with them.

Examples:
  busbar-cloud activity verify --config cloud.toml
  busbar-cloud activity verify --json > /safe/2026-01-31.json
  busbar-cloud activity verify --against /safe/2026-01-31.json`

export function addVerifyCommand(activity: Command, { action }: CommandLine, tools: ActivityTools): void {
  activity
    .command('verify')
    .description('look for entries that were changed, removed, added or put in another order')
    .addOption(
      new Option('-c, --config <file>', 'TOML file of the core; without one environment and defaults apply').env(
        CLOUD_CONFIG_VARIABLE,
      ),
    )
    .addOption(new Option('--day <day>', 'this day only, such as 2026-01-31').argParser(day).conflicts(['from', 'to']))
    .addOption(new Option('--from <day>', 'from this day on').argParser(day))
    .addOption(new Option('--to <day>', 'up to this day').argParser(day))
    .option('--against <file>', 'an earlier report: what it noted must still be on the chain')
    .addOption(new Option('--json', 'print the report as JSON, for programs and to be kept').default(false))
    .addHelpText('after', HELP)
    .action(
      action(async (flags: VerifyFlags) => {
        const { env, clock, random, log, terminal } = tools
        const config = loadCloudConfig(flags.config, env)
        const [{ databaseFromConfig }, { verifyActivityLog }] = await Promise.all([
          import('../database-from-config.ts'),
          import('./activity-verify-run.ts'),
        ])
        const database = databaseFromConfig(config, { clock, random, log: log(config) })
        return await verifyActivityLog(config, flags, { database, clock, random }, terminal)
      }),
    )
}

function day(text: string): string {
  if (isDay(text)) return text
  throw new InvalidArgumentError('It must be a day such as 2026-01-31.')
}
