/** Lines that are drawn again in place in a terminal; in a pipe one line every few seconds. */

import type { Terminal } from '../../shared/cli/terminal.ts'
import { type Progress, progressLine, progressLines } from './progress.ts'

/** In a pipe. */
const LINE_EVERY_MS = 2_000
/** Of a terminal that does not say how wide it is. */
const COLUMNS = 80

export class ProgressScreen {
  private readonly terminal: Terminal
  private readonly quiet: boolean
  private shown = 0
  private lastLineMs = Number.NEGATIVE_INFINITY
  private lastState = ''

  /** @param quiet standard output is for JSON alone, so lines go to standard error. */
  constructor(terminal: Terminal, quiet: boolean) {
    this.terminal = terminal
    this.quiet = quiet
  }

  show(progress: Progress): void {
    const { isInteractive, paint, columns = COLUMNS, out } = this.terminal
    if (isInteractive && !this.quiet) {
      const lines = progressLines(progress, paint, columns)
      const up = this.shown > 0 ? `\u001b[${this.shown}A` : ''
      out(up + lines.map((line) => `\u001b[2K${line}\n`).join(''))
      this.shown = lines.length
      return
    }
    const { elapsedMs, task } = progress
    if (task.state === this.lastState && elapsedMs - this.lastLineMs < LINE_EVERY_MS) return
    this.lastState = task.state
    this.lastLineMs = elapsedMs
    this.say(`${progressLine(progress)}\n`)
  }

  /** A note that stays, below what was drawn so far. */
  note(text: string): void {
    this.shown = 0
    this.terminal.err(text)
  }

  private say(text: string): void {
    if (this.quiet) this.terminal.err(text)
    else this.terminal.out(text)
  }
}
