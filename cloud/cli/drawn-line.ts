/** How far something has come, on one line that is drawn again in place. */

import { formatCount } from '../../shared/cli/format.ts'
import type { Paint, Terminal } from '../../shared/cli/terminal.ts'

const BAR_CELLS_MAX = 50
const BAR_CELLS_MIN = 10
/** Of a terminal that does not say how wide it is. */
const COLUMNS = 80
/** Between two drawings, and between two lines where nothing is drawn. */
const DRAW_EVERY_MS = 100
const TELL_EVERY_MS = 10_000

/**
 * A bar and its counts, never longer than the terminal is wide.
 * @param what is counted, such as `entries`; of more than `total` the bar is full.
 */
export function barOf(
  { done, total, what }: { readonly done: number; readonly total: number; readonly what: string },
  paint: Paint,
  columns = COLUMNS,
): string {
  const counts = `${formatCount(done)} of ${formatCount(Math.max(done, total))} ${what}`
  const cells = Math.max(BAR_CELLS_MIN, Math.min(BAR_CELLS_MAX, columns - counts.length - 2))
  const filled = Math.min(cells, Math.round((done / Math.max(1, total)) * cells))
  return `${paint.good('█'.repeat(filled))}${paint.faint('·'.repeat(cells - filled))} ${counts}`
}

/** Draws as often as people can read; where standard output is no terminal it tells on standard error, far less often. */
export class DrawnLine {
  private readonly terminal: Terminal
  private readonly nowMs: () => number
  private readonly isDrawn: boolean
  private lastMs: number
  private drawn = false

  /** @param isDrawn false where standard output is for a program. */
  constructor(terminal: Terminal, nowMs: () => number, isDrawn = terminal.isInteractive) {
    this.terminal = terminal
    this.nowMs = nowMs
    this.isDrawn = isDrawn
    this.lastMs = isDrawn ? Number.NEGATIVE_INFINITY : nowMs()
  }

  /** @param told instead of what is drawn; nothing is told without it. */
  show(drawn: () => string, told?: () => string): void {
    const nowMs = this.nowMs()
    if (nowMs - this.lastMs < (this.isDrawn ? DRAW_EVERY_MS : TELL_EVERY_MS)) return
    this.lastMs = nowMs
    if (this.isDrawn) this.terminal.out(`\r\u001b[2K${drawn()}`)
    else if (told !== undefined) this.terminal.err(`${told()}\n`)
    this.drawn = this.isDrawn
  }

  /** It goes: what has come of it stands in its place. */
  end(): void {
    if (this.drawn) this.terminal.out('\r\u001b[2K')
    this.drawn = false
  }
}
