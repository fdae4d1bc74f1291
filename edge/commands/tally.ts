/** How many commands are where, and how they ended. */

import type { CommandLife, Outcome } from './life-state.ts'

export class Tally {
  private readonly phases = new Map<CommandLife['phase'], number>()
  /** Since the start, like `deliveries`. */
  readonly endings: Record<Outcome, number> = { ANSWERED: 0, TIMED_OUT: 0, EXPIRED: 0, CANCELLED: 0 }
  deliveries = 0

  /** Open commands in these phases. */
  count(...phases: readonly CommandLife['phase'][]): number {
    return phases.reduce((sum, phase) => sum + (this.phases.get(phase) ?? 0), 0)
  }

  /** Commands that ended since the start. */
  get endedCount(): number {
    return Object.values(this.endings).reduce((sum, count) => sum + count, 0)
  }

  entered({ phase }: CommandLife): void {
    this.phases.set(phase, this.count(phase) + 1)
  }

  moved(before: CommandLife, after: CommandLife): void {
    this.phases.set(before.phase, this.count(before.phase) - 1)
    if (after.phase === 'ended') this.endings[after.outcome]++
    else this.entered(after)
    if (after.phase === 'delivered') this.deliveries++
  }

  /** There are no open commands any more. */
  clear(): void {
    this.phases.clear()
  }
}
