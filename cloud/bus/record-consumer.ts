/**
 * One consumer of a topic in a group: records become values, values are handled a batch at a time, and what cannot be
 * handled ends on the dead-letter topic with the reason, so that a poison record stops nobody behind it.
 *
 * The offsets of a batch are committed only when all of it is handled or dead-lettered. A batch may come again whole, so
 * `handle` is idempotent.
 */

import { type Clock, sleep } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { Bus, BusRecord, ConsumedBatch, ConsumedRecord, Subscription } from './bus.ts'
import { deadLetterTopicOf } from './catalogue.ts'
import { deadLetters } from './dead-letter.ts'
import type { Parking } from './parking.ts'
import type { RetryPolicy } from './retry-policy.ts'

/** Why a record has no value: `unusable` is a stable code in upper snake case, `message` a sentence for operators. */
export interface Unusable {
  readonly unusable: string
  readonly message: string
}

export interface ConsumedItem<T> {
  readonly record: ConsumedRecord
  readonly value: T
}

export interface RecordConsumerOptions<T extends object> {
  /** For health and logs. */
  readonly name: string
  readonly bus: Pick<Bus, 'subscribe' | 'publish'>
  readonly group: string
  readonly topics: readonly string[]
  /** Pure. What it throws makes the record unusable as well. */
  readonly decode: (record: ConsumedRecord) => T | Unusable
  /**
   * Makes the effects of the items durable. A retryable BusbarError, or a database that refuses us, says that something it
   * needs is away: the bus delivers the batch again later, and no try is used up. Anything else is the fault of an item.
   */
  readonly handle: (items: readonly ConsumedItem<T>[]) => Promise<void>
  /** See SubscribeOptions. Default 0. */
  readonly gatherMs?: number
  /** Of this core: where a record waits that its tries at once did not mend, and the later ones of its key behind it. */
  readonly parking: Parking
  /** Default: what `parking` has for the topics. */
  readonly policy?: RetryPolicy
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface RecordConsumerStats {
  /** Records that were handled. */
  readonly handled: number
  /** Records that were dead-lettered, by code. */
  readonly deadLettered: Readonly<Record<string, number>>
  /** Why the last batch was left for a later delivery; null since one was finished. */
  readonly failing: string | null
}

/** Not retryable by itself, since an operator has to mend it, but no more an item's fault than what is. */
const REFUSALS_OF_ALL = new Set(['DATABASE_REFUSED'])
/** How often an item is tried by itself. */
const TRIES = 3
const TRY_PAUSE_MS = 100

interface Attempted<T> {
  readonly item: ConsumedItem<T>
  tries: number
}

/** A record that is given up. */
interface GivenUp {
  readonly record: ConsumedRecord
  readonly code: string
  readonly message: string
  readonly retryCount: number
}

export class RecordConsumer<T extends object> implements Part {
  readonly name: string
  private readonly options: RecordConsumerOptions<T>
  private readonly stopping = new AbortController()
  private readonly deadLettered: Record<string, number> = {}
  private handled = 0
  private failing: string | null = null
  private subscribing: Promise<Subscription> | null = null
  private leaving: Promise<void> | null = null

  constructor(options: RecordConsumerOptions<T>) {
    this.options = options
    this.name = options.name
  }

  /** @throws BusbarError TOPIC_MISSING */
  async start(): Promise<void> {
    const { bus, group, topics, gatherMs = 0 } = this.options
    this.subscribing ??= bus.subscribe({ group, topics, gatherMs, onBatch: (batch) => this.consume(batch) })
    await this.subscribing
  }

  /** Finishes the batch in hand and leaves the group. */
  async stop(): Promise<void> {
    this.stopping.abort()
    this.leaving ??= this.leave()
    await this.leaving
  }

  stats(): RecordConsumerStats {
    return { handled: this.handled, deadLettered: { ...this.deadLettered }, failing: this.failing }
  }

  private async leave(): Promise<void> {
    const subscription = await this.subscribing?.catch(() => null)
    await subscription?.stop()
  }

  /** Resolves when the batch is handled or dead-lettered; rejects when it has to come again. */
  private async consume(batch: ConsumedBatch): Promise<void> {
    try {
      const { items, givenUp } = this.decode(batch)
      if (items.length > 0) givenUp.push(...(await this.handle(items)))
      // Last, because a batch that is left for later comes again, and each time would leave another dead letter.
      if (givenUp.length > 0) await this.deadLetter(givenUp)
      this.handled += batch.records.length - givenUp.length
      this.failing = null
    } catch (error) {
      this.failing = messageOf(error)
      throw error
    }
  }

  private decode(batch: ConsumedBatch): { items: ConsumedItem<T>[]; givenUp: GivenUp[] } {
    const items: ConsumedItem<T>[] = []
    const givenUp: GivenUp[] = []
    for (const record of batch.records) {
      const value = this.decodeOne(record)
      if ('unusable' in value) givenUp.push({ record, code: value.unusable, message: value.message, retryCount: 0 })
      else items.push({ record, value })
    }
    return { items, givenUp }
  }

  private decodeOne(record: ConsumedRecord): T | Unusable {
    try {
      return this.options.decode(record)
    } catch (error) {
      return { unusable: 'DECODE_FAILED', message: messageOf(error) }
    }
  }

  /** All at once, and one by one when that fails; resolves with those that fail by themselves. */
  private async handle(items: readonly ConsumedItem<T>[]): Promise<GivenUp[]> {
    try {
      await this.options.handle(items)
      return []
    } catch (error) {
      if (isAway(error)) throw error
      this.options.log.debug(
        { consumer: this.name, items: items.length, error: messageOf(error) },
        'batch is taken apart',
      )
      return this.handleOneByOne(items)
    }
  }

  /**
   * Rounds with a pause between them: however many items fail, the others wait for a few pauses. An item waits while one
   * of its key before it may still succeed, so a key keeps its order. What is given up here is where a longer patience,
   * with the key set aside meanwhile, would take over.
   */
  private async handleOneByOne(items: readonly ConsumedItem<T>[]): Promise<GivenUp[]> {
    const givenUp: GivenUp[] = []
    let pending: Attempted<T>[] = items.map((item) => ({ item, tries: 0 }))
    for (;;) {
      const again: Attempted<T>[] = []
      const failedKeys = new Set<string>()
      for (const attempted of pending) {
        const { key } = attempted.item.record
        if (key !== null && failedKeys.has(key)) {
          again.push(attempted)
          continue
        }
        const failure = await this.tryOne(attempted)
        if (failure === null) continue
        if (attempted.tries >= TRIES) {
          givenUp.push(giveUp(attempted, failure))
          continue
        }
        if (key !== null) failedKeys.add(key)
        again.push(attempted)
      }
      if (again.length === 0) return givenUp
      pending = again
      await sleep(this.options.clock, TRY_PAUSE_MS, this.stopping.signal)
      if (this.stopping.signal.aborted) {
        throw new BusbarError(`${this.name} is stopping`, { code: 'CONSUMER_STOPPING', retryable: true })
      }
    }
  }

  /** Null when it succeeded, otherwise what it threw. */
  private async tryOne(attempted: Attempted<T>): Promise<{ error: unknown } | null> {
    attempted.tries++
    try {
      await this.options.handle([attempted.item])
      return null
    } catch (error) {
      if (isAway(error)) throw error
      return { error }
    }
  }

  private async deadLetter(givenUp: readonly GivenUp[]): Promise<void> {
    const { bus, group, clock, log } = this.options
    const [
      {
        record: { topic },
      },
    ] = givenUp as [GivenUp]
    const atMs = clock.wallMs()
    const letters = givenUp.flatMap(({ record, ...reason }): BusRecord[] => {
      return deadLetters(record, { source: group, ...reason, atMs })
    })
    try {
      await bus.publish(deadLetterTopicOf(topic), letters)
    } catch (error) {
      const message = `records of ${topic} that cannot be used could not be dead-lettered: ${messageOf(error)}`
      throw new BusbarError(message, { code: 'DEAD_LETTER_FAILED', retryable: true, cause: error })
    }
    for (const { code } of givenUp) this.deadLettered[code] = (this.deadLettered[code] ?? 0) + 1
    const [{ record, code, message }] = givenUp as [GivenUp]
    const { partition, offset } = record
    const first = { partition, offset: String(offset), code, message }
    log.warn({ topic, group, records: givenUp.length, first }, 'records dead-lettered')
  }
}

function isAway(error: unknown): boolean {
  return error instanceof BusbarError && (error.retryable || REFUSALS_OF_ALL.has(error.code))
}

function giveUp<T>({ item, tries }: Attempted<T>, { error }: { error: unknown }): GivenUp {
  const code = error instanceof BusbarError ? error.code : 'HANDLER_FAILED'
  return { record: item.record, code, message: messageOf(error), retryCount: tries }
}
