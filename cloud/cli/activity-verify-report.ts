/** How verifying the activity log goes on, and what it found, for a terminal or a pipe. */

import { formatCount } from '../../shared/cli/format.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Paint, Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import type { VerificationReport } from '../activity/activity.ts'
import { writeJson } from './api-options.ts'
import { visible } from './chat-text.ts'

const BAR_CELLS_MAX = 50
/** Of a terminal that does not say how wide it is. */
const COLUMNS = 80
/** Between two drawings of the bar, and between two lines where there is none. */
const BAR_EVERY_MS = 100
const LINE_EVERY_MS = 10_000

/** One line that is drawn again in place; where standard output is no terminal, one now and then on standard error. */
export class VerifyScreen {
  private readonly terminal: Terminal
  private readonly clock: Clock
  private readonly isDrawn: boolean
  private lastMs: number
  private drawn = false

  /** @param quiet standard output is for JSON alone. */
  constructor(terminal: Terminal, clock: Clock, quiet: boolean) {
    this.terminal = terminal
    this.clock = clock
    this.isDrawn = terminal.isInteractive && !quiet
    this.lastMs = this.isDrawn ? Number.NEGATIVE_INFINITY : clock.monotonicMs()
  }

  show(done: number, total: number): void {
    const nowMs = this.clock.monotonicMs()
    if (nowMs - this.lastMs < (this.isDrawn ? BAR_EVERY_MS : LINE_EVERY_MS)) return
    this.lastMs = nowMs
    const { out, err, paint, columns } = this.terminal
    if (this.isDrawn) out(`\r\u001b[2K${verifyBar(done, total, paint, columns)}`)
    else err(`${countsOf(done, total)}\n`)
    this.drawn = this.isDrawn
  }

  /** The bar goes: what was found stands in its place. */
  end(): void {
    if (this.drawn) this.terminal.out('\r\u001b[2K')
    this.drawn = false
  }
}

/** One line, never longer than the terminal is wide. */
export function verifyBar(done: number, total: number, paint: Paint, columns = COLUMNS): string {
  const counts = countsOf(done, total)
  const cells = Math.max(10, Math.min(BAR_CELLS_MAX, columns - counts.length - 2))
  // Entries come while it reads.
  const filled = Math.min(cells, Math.round((done / Math.max(1, total)) * cells))
  return `${paint.good('█'.repeat(filled))}${paint.faint('·'.repeat(cells - filled))} ${counts}`
}

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
  } else if (unable.length === 0) {
    out(`${paint.good('ok')}: ${read} ${entries === 1 ? 'is as it was' : 'are as they were'} written\n`)
    if (against === undefined && days.length > 0)
      err(
        `${paint.faint('next:')} keep a report (--json) where the database is not; --against it shows what was cut off since\n`,
      )
  }
}

function countsOf(done: number, total: number): string {
  return `${formatCount(done)} of ${formatCount(Math.max(done, total))} entries`
}

function daysOf(count: number): string {
  return `${formatCount(count)} ${count === 1 ? 'day' : 'days'}`
}
