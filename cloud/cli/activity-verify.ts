/**
 * `busbar-cloud activity verify`: whether the activity log is as it was written. It reads the database itself, since a core
 * that somebody has changed would say whatever they like; nothing is changed, so a user of the database who may only read
 * will do.
 */

import { existsSync, readFileSync } from 'node:fs'
import { InvalidArgumentError, Option } from 'commander'
import { EXIT_CONFIG, EXIT_FAILED, EXIT_OK, EXIT_USAGE, exitStatusOf } from '../../shared/cli/exit-status.ts'
import { describeError, type Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Random } from '../../shared/random.ts'
import { type DayHead, openActivityKeys, readHeads, verifyActivities } from '../activity/activity.ts'
import type { CloudConfig } from '../config.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { VerifyScreen, writeVerification } from './activity-verify-report.ts'
import { requireDatabase, requireSchema } from './present-database.ts'

export interface VerifyFlags {
  readonly day?: string
  readonly from?: string
  readonly to?: string
  readonly against?: string
  readonly json: boolean
}

export interface VerifyTools {
  readonly database: DatabaseHandle
  readonly clock: Clock
  readonly random: Random
}

/** It could not be found out. */
const EXIT_UNABLE = 2

export const VERIFY_HELP = `
Status 0: everything is as it was written; 1: something is not; 2: it could not be found out, as when a key is missing.

What was cut off at the newest end leaves no trace in the database. Keep reports where the database is not, and compare:
  busbar-cloud activity verify --json > /safe/2026-01-31.json
  busbar-cloud activity verify --against /safe/2026-01-31.json`

export function dayOptions(): readonly Option[] {
  return [
    new Option('--day <day>', 'this day of storing only, UTC, such as 2026-01-31')
      .argParser(day)
      .conflicts(['from', 'to']),
    new Option('--from <day>', 'from this day on').argParser(day),
    new Option('--to <day>', 'up to this day').argParser(day),
    new Option('--against <file>', 'an earlier report: what it noted must still be on the chain'),
  ]
}

/** Exit status 1 when something was found, 2 when it cannot be known. */
export async function verifyActivityLog(
  config: Pick<CloudConfig, 'activity' | 'identity' | 'database'>,
  flags: VerifyFlags,
  { database, clock, random }: VerifyTools,
  terminal: Terminal,
): Promise<number> {
  const screen = new VerifyScreen(terminal, clock, flags.json)
  try {
    const against = flags.against === undefined ? [] : headsIn(flags.against)
    requireDatabase(config.database, 'there is nothing to verify')
    requireKeys(config)
    const keys = openActivityKeys(config, random)
    await requireSchema(database)
    const report = await verifyActivities({
      database,
      keys,
      nowMs: clock.wallMs(),
      fromDay: flags.day ?? flags.from,
      toDay: flags.day ?? flags.to,
      against,
      onProgress: (done, total) => screen.show(done, total),
    })
    screen.end()
    writeVerification(report, flags, terminal)
    if (report.findingsTotal > 0) return EXIT_FAILED
    return report.days.some(({ unable }) => unable !== null) ? EXIT_UNABLE : EXIT_OK
  } catch (error) {
    screen.end()
    const status = exitStatusOf(error)
    if (!(error instanceof BusbarError) || status === EXIT_USAGE || status === EXIT_CONFIG) throw error
    terminal.err(describeError(error, terminal.paint))
    return EXIT_UNABLE
  } finally {
    await database.stop()
  }
}

/** Opening the keys makes the master key where there is none, and nothing was ever signed with that one. */
function requireKeys({ activity, identity }: Pick<CloudConfig, 'activity' | 'identity'>): void {
  const { masterKeyFile } = identity
  if (activity.keys.trim() !== '' || existsSync(masterKeyFile)) return
  throw new BusbarError(`there is no master key ${masterKeyFile} here, which the log is signed with`, {
    code: 'MASTER_KEY_UNREADABLE',
    hint: 'run it with the config of the core, in the directory where that runs; or give its keys in activity.keys',
  })
}

function headsIn(file: string): readonly DayHead[] {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw unreadable(file, messageOf(cause), cause)
  }
  let report: unknown
  try {
    report = JSON.parse(text)
  } catch (cause) {
    throw unreadable(file, 'it is no JSON', cause)
  }
  return readHeads(report)
}

function unreadable(file: string, why: string, cause: unknown): BusbarError {
  return new BusbarError(`cannot read the report ${file}: ${why}`, {
    code: 'ACTIVITY_REPORT_INVALID',
    hint: 'give --against what `busbar-cloud activity verify --json` printed, or `busbar-cloud activity days --json`',
    cause,
  })
}

function day(text: string): string {
  const parsed = /^\d{4}-\d\d-\d\d$/.test(text) ? new Date(`${text}T00:00:00Z`) : null
  if (parsed !== null && !Number.isNaN(parsed.getTime()) && parsed.toISOString().startsWith(text)) return text
  throw new InvalidArgumentError('It must be a day such as 2026-01-31.')
}
