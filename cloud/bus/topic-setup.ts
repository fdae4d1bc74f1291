/** Creates the catalogue's topics when the core starts, and says which ones differ from it. */

import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { retry } from '../../shared/retry.ts'
import type { Bus, TopicDrift } from './bus.ts'

export interface TopicSetupOptions {
  readonly bus: Pick<Bus, 'createTopics' | 'checkTopics'>
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

const BACKOFF = { baseMs: 500, capMs: 5_000 }
/** A bus that stays away is told about once in so many tries. */
const TRIES_PER_LOG = 6

export class TopicSetup implements Part {
  readonly name = 'topic setup'
  private readonly options: TopicSetupOptions
  private readonly stopping = new AbortController()
  private starting: Promise<void> | null = null

  constructor(options: TopicSetupOptions) {
    this.options = options
  }

  /** Waits for the bus: nothing can be consumed or published before its topics are there. */
  start(): Promise<void> {
    this.starting ??= this.setUp()
    return this.starting
  }

  async stop(): Promise<void> {
    this.stopping.abort()
    await this.starting?.catch(() => undefined)
  }

  private async setUp(): Promise<void> {
    const { bus, clock, random, log } = this.options
    const { created, drift } = await retry(
      async () => ({ created: await bus.createTopics(), drift: await this.check() }),
      {
        clock,
        random,
        backoff: BACKOFF,
        signal: this.stopping.signal,
        onRetry: (error, attempt) => {
          if (attempt % TRIES_PER_LOG !== 0) return
          const hint = error instanceof BusbarError ? error.hint : undefined
          log.warn({ error: messageOf(error), hint }, 'waiting for the bus to set up topics')
        },
      },
    )
    if (created.length > 0) log.info({ topics: created }, 'topics created')
    // A topic that exists is its operator's: altering it here could move or delete what others rely on.
    for (const { topic, setting, expected, actual } of drift) {
      log.warn({ topic, setting, expected, actual }, 'topic differs from the catalogue')
    }
  }
  /** Who may not ask how the topics are set can do without: they are there. */
  private async check(): Promise<readonly TopicDrift[]> {
    try {
      return await this.options.bus.checkTopics()
    } catch (error) {
      if (!(error instanceof BusbarError) || error.code !== 'KAFKA_DENIED') throw error
      this.options.log.warn({ error: error.message, hint: error.hint }, 'topics are not compared with the catalogue')
      return []
    }
  }
}
