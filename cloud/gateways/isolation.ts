/**
 * Work on many commands at once, such that one which makes its transaction fail does not stop the others: the group is
 * halved until the culprit stands alone, and that one is set aside for a while.
 */

import type { Clock } from '../../shared/clock.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { failureKind } from '../database/failure.ts'

export interface IsolationOptions {
  /** How long one is left out, milliseconds. */
  readonly asideMs: number
  /** Set aside at one time; at the limit the oldest is tried again. */
  readonly asideMax: number
  readonly clock: Clock
  readonly log: Logger
}

/** Found in one group; the rest of it waits for the next turn, which leaves these out. */
const CULPRITS_MAX = 20

export class Isolation {
  private readonly options: IsolationOptions
  /** Command → until when it is left out, monotonic; the oldest first. */
  private readonly aside = new Map<string, number>()

  constructor(options: IsolationOptions) {
    this.options = options
  }

  /** Those to leave out now. */
  except(): string[] {
    const nowMs = this.options.clock.monotonicMs()
    for (const [commandId, untilMs] of this.aside) if (untilMs <= nowMs) this.aside.delete(commandId)
    return [...this.aside.keys()]
  }

  /**
   * Rejects for what is not the commands' fault: a database that is away, busy, or will not have us, and an error that so
   * many have in common that each of them would be accused of it.
   */
  each<T>(items: readonly T[], idOf: (item: T) => string, work: (items: readonly T[]) => Promise<void>): Promise<void> {
    let culprits = 0
    const attempt = async (group: readonly T[]): Promise<void> => {
      if (group.length === 0) return
      try {
        await work(group)
      } catch (error) {
        const kind = failureKind(error)
        if (kind !== 'other' && kind !== 'duplicate') throw error
        if (group.length === 1) {
          this.setAside(idOf(group[0] as T), error)
          if (++culprits >= CULPRITS_MAX) throw error
          return
        }
        const middle = group.length >> 1
        await attempt(group.slice(0, middle))
        await attempt(group.slice(middle))
      }
    }
    return attempt(items)
  }

  private setAside(commandId: string, error: unknown): void {
    const { asideMs, asideMax, clock, log } = this.options
    log.error({ commandId, error: messageOf(error) }, 'a command cannot be worked on; it is tried again later')
    if (this.aside.size >= asideMax) this.aside.delete(this.aside.keys().next().value as string)
    this.aside.set(commandId, clock.monotonicMs() + asideMs)
  }
}
