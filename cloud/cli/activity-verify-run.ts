/**
 * Verifies the activity log for the command line. It reads the database itself, since a core that somebody has changed would
 * say whatever they like; nothing is changed, so a user of the database who may only read will do.
 */

import { existsSync, readFileSync } from 'node:fs'
import { EXIT_CONFIG, EXIT_FAILED, EXIT_OK, EXIT_USAGE, exitStatusOf } from '../../shared/cli/exit-status.ts'
import { formatCount } from '../../shared/cli/format.ts'
import { describeError, type Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Random } from '../../shared/random.ts'
import { type DayHead, openActivityKeys, readHeads, verifyActivities } from '../activity/activity.ts'
import type { CloudConfig } from '../config.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { VerifyFlags } from './activity-verify.ts'
import { writeVerification } from './activity-verify-report.ts'
import { barOf, DrawnLine } from './drawn-line.ts'
import { requireDatabase, requireSchema } from './present-database.ts'

export interface VerifyTools {
  readonly database: DatabaseHandle
  readonly clock: Clock
  readonly random: Random
}

/** It could not be found out. */
const EXIT_UNABLE = 2

/** Exit status 1 when something was found, 2 when it cannot be known. */
export async function verifyActivityLog(
  config: Pick<CloudConfig, 'activity' | 'identity' | 'database'>,
  flags: VerifyFlags,
  { database, clock, random }: VerifyTools,
  terminal: Terminal,
): Promise<number> {
  const isDrawn = terminal.isInteractive && !flags.json
  const line = new DrawnLine(terminal, () => clock.monotonicMs(), isDrawn)
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
      onProgress: (done, total) => {
        const counted = { done, total, what: 'entries' }
        line.show(
          () => barOf(counted, terminal.paint, terminal.columns),
          () => `${formatCount(done)} of ${formatCount(total)} entries`,
        )
      },
    })
    line.end()
    writeVerification(report, flags, terminal)
    if (report.findingsTotal > 0) return EXIT_FAILED
    return report.days.some(({ unable }) => unable !== null) ? EXIT_UNABLE : EXIT_OK
  } catch (error) {
    line.end()
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
