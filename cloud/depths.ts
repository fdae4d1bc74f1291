/**
 * How much waits on the bus: records that a group has not handled yet, and dead letters that nobody has replayed. Both are
 * asked for every so often, so that reading the metrics costs the brokers and the database nothing.
 */

import type { Clock, Timer } from '../shared/clock.ts'
import { ComplaintLimit } from '../shared/complaint-limit.ts'
import { messageOf } from '../shared/errors.ts'
import type { Part } from '../shared/lifecycle.ts'
import type { Logger } from '../shared/log.ts'
import type { Bus } from './bus/bus.ts'
import { COMMAND_CREATED_GROUP, catalogue } from './bus/catalogue.ts'
import type { DeadLetters } from './dead-letters/dead-letters.ts'

export interface DepthsOptions {
  readonly bus: Pick<Bus, 'positions'>
  readonly deadLetters: Pick<DeadLetters, 'summary'>
  /** Default: all that cores consume in. */
  readonly groups?: readonly string[]
  readonly clock: Clock
  readonly log: Logger
}

export interface DepthsStats {
  /** Records of a topic that its group has not handled, whichever core has them; those set aside count as handled. */
  readonly lag: readonly { readonly group: string; readonly topic: string; readonly records: number }[]
  /** Dead letters that are listed and were not replayed. */
  readonly deadLetters: readonly { readonly topic: string; readonly records: number }[]
}

/** From the end of one look to the next. */
const PERIOD_MS = 15_000
/** Of programs of others, of which there need be none. */
const FOREIGN_GROUPS: readonly string[] = [COMMAND_CREATED_GROUP]
/** What dead letters of topics that are not in the catalogue count under: whoever writes one may name any. */
const OTHER = 'other'

export class Depths implements Part {
  readonly name = 'depths'
  private readonly options: DepthsOptions
  private readonly complaints: ComplaintLimit
  private stopped = false
  private timer: Timer | null = null
  private lag: DepthsStats['lag'] = []
  private deadLetters: DepthsStats['deadLetters'] = []

  constructor(options: DepthsOptions) {
    this.options = options
    this.complaints = new ComplaintLimit(options.clock)
  }

  /** Waits for neither the bus nor the database. */
  async start(): Promise<void> {
    if (this.timer === null) this.schedule(0)
  }

  /** Leaves a look in hand behind: it only reads, and may be waiting for brokers that are away. */
  async stop(): Promise<void> {
    this.stopped = true
    this.timer?.cancel()
  }

  /** As of the last look; nothing of what could not be looked at then. */
  stats(): DepthsStats {
    return { lag: this.lag, deadLetters: this.deadLetters }
  }

  private schedule(delayMs: number): void {
    if (this.stopped) return
    this.timer = this.options.clock.after(delayMs, () => {
      void this.look().then(() => this.schedule(PERIOD_MS))
    })
  }

  /** Never rejects. What cannot be known is left out: an old number would look like one of now. */
  private async look(): Promise<void> {
    const failures: string[] = []
    const orNothing = async <T>(found: Promise<readonly T[]>): Promise<readonly T[]> =>
      await found.catch((error: unknown) => {
        failures.push(messageOf(error))
        return []
      })
    const consumed = this.consumed()
    const [lag, deadLetters] = await Promise.all([
      Promise.all(consumed.map(({ group, topics }) => orNothing(this.lagOf(group, topics)))),
      orNothing(this.openDeadLetters()),
    ])
    this.lag = lag.flat()
    this.deadLetters = deadLetters
    if (failures.length === 0 || this.stopped || !this.complaints.isDue()) return
    this.options.log.warn({ error: failures[0] }, 'what waits on the bus cannot be counted')
  }

  private consumed(): readonly { readonly group: string; readonly topics: readonly string[] }[] {
    const topicsOf = (group: string) =>
      catalogue().flatMap(({ topic, groups }) => (groups.includes(group) ? topic : []))
    const all = new Set(catalogue().flatMap(({ groups }) => groups))
    const { groups = [...all].filter((group) => !FOREIGN_GROUPS.includes(group)) } = this.options
    return groups.map((group) => ({ group, topics: topicsOf(group) }))
  }

  private async lagOf(group: string, topics: readonly string[]): Promise<DepthsStats['lag']> {
    const records = new Map(topics.map((topic) => [topic, 0]))
    for (const { topic, nextOffset, endOffset } of await this.options.bus.positions(group, topics)) {
      records.set(topic, (records.get(topic) ?? 0) + Math.max(0, Number(endOffset - nextOffset)))
    }
    return [...records].map(([topic, count]) => ({ group, topic, records: count }))
  }

  /** Of every topic that may have some, so that 0 is there to be compared with. */
  private async openDeadLetters(): Promise<DepthsStats['deadLetters']> {
    const records = new Map<string, number>()
    for (const { topic, deadLetterTopic } of catalogue()) if (deadLetterTopic !== null) records.set(topic, 0)
    for (const { originalTopic, count, replayed } of await this.options.deadLetters.summary()) {
      const topic = records.has(originalTopic) ? originalTopic : OTHER
      records.set(topic, (records.get(topic) ?? 0) + count - replayed)
    }
    return [...records].map(([topic, count]) => ({ topic, records: count }))
  }
}
