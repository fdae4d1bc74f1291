/** Lines refreshed in place in a terminal; in a pipe one line a second. */

import type { Terminal } from '../../shared/cli/terminal.ts'
import { type DemoFacts, liveLines, plainLine } from './view.ts'

const PLAIN_PERIOD_S = 1

export class Screen {
  private readonly terminal: Terminal
  private linesShown = 0
  private lastPlainS = Number.NEGATIVE_INFINITY
  private lastAct = ''

  constructor(terminal: Terminal) {
    this.terminal = terminal
  }

  show(facts: DemoFacts): void {
    const { out, isInteractive, paint } = this.terminal
    if (isInteractive) {
      const lines = liveLines(facts, paint)
      const up = this.linesShown > 0 ? `\u001b[${this.linesShown}A` : ''
      out(up + lines.map((line) => `\u001b[2K${line}\n`).join(''))
      this.linesShown = lines.length
      return
    }
    if (facts.act !== this.lastAct) out(`${facts.act}\n`)
    if (facts.act !== this.lastAct || facts.elapsedS - this.lastPlainS >= PLAIN_PERIOD_S) {
      out(`${plainLine(facts)}\n`)
      this.lastPlainS = facts.elapsedS
    }
    this.lastAct = facts.act
  }

  /** Text that stays, below what is refreshed so far. */
  say(text: string): void {
    this.linesShown = 0
    this.terminal.out(`${text}\n`)
  }
}
