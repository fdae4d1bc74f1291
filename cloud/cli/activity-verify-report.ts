/** What verifying the activity log found, for a terminal or a pipe. */

import { formatCount } from '../../shared/cli/format.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { VerificationReport } from '../activity/activity.ts'
import { writeJson } from './api-options.ts'
import { visible } from './chat-text.ts'

export function writeVerification(
  report: VerificationReport,
  { json, against }: { readonly json: boolean; readonly against?: string },
  terminal: Terminal,
): void {
  if (json) {
    writeJson(terminal, report)
    return
  }
  const { out, err, paint } = terminal
  const { days, entries, findings, findingsTotal } = report
  const rows = findings.map(({ kind, day, place, lastPlace, eventId, message }) => [
    visible(day),
    place === null ? '-' : lastPlace === null || lastPlace === place ? String(place) : `${place}-${lastPlace}`,
    paint.bad(kind),
    eventId === null ? '-' : visible(eventId),
    visible(message),
  ])
  if (rows.length > 0) writeTable(terminal, ['DAY', 'PLACE', 'FINDING', 'EVENT', 'WHAT'], rows)
  if (findings.length < findingsTotal) err(`and ${formatCount(findingsTotal - findings.length)} more\n`)
  const unable = days.filter((day) => day.unable !== null)
  for (const { day, unable: why } of unable)
    err(`${paint.caution('not verified:')} ${visible(day)}: ${visible(why ?? '')}\n`)

  const read = `${formatCount(entries)} ${entries === 1 ? 'entry' : 'entries'} of ${daysOf(days.length)}`
  if (findingsTotal > 0) {
    // A day that is gone is in the findings alone, and one of which too much was found may be in the days alone.
    const found = new Set([...findings, ...days.filter((each) => each.findings > 0)].map(({ day }) => day))
    const where = ` on ${daysOf(found.size)}`
    err(
      `${paint.bad(`${formatCount(findingsTotal)} ${findingsTotal === 1 ? 'finding' : 'findings'}`)}${where}; ${read} were read\n`,
    )
    err(
      `${paint.faint('next:')} keep the database and its backups as they are; a backup from before shows what was changed\n`,
    )
  } else if (days.length === 0) {
    // Not ok: an emptied log looks like one that never had an entry.
    out(`${paint.caution('nothing to verify')}: there is no entry, and no day that had some\n`)
  } else if (unable.length === 0) {
    out(`${paint.good('ok')}: ${read} ${entries === 1 ? 'is as it was' : 'are as they were'} written\n`)
    if (against === undefined)
      err(
        `${paint.faint('next:')} keep a report (--json) where the database is not; --against it shows what was cut off since\n`,
      )
  }
}

function daysOf(count: number): string {
  return `${formatCount(count)} ${count === 1 ? 'day' : 'days'}`
}
