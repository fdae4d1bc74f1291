/**
 * Takes notifications from their topic to the webhook. Without a webhook it takes them in all the same, at next to no
 * cost, so that the group goes on and a webhook that is set later does not begin with what is weeks old.
 *
 * The offsets of a batch are committed when the receiver has all of it, so a notification arrives at least once: again when
 * the answer was lost, when this core dies, or when the group is shared out anew. The receiver drops what it has by
 * `webhook-id`. Notifications of a user arrive in order; those of several users side by side.
 */

import { forgetOldest } from '../../shared/bounded.ts'
import { HOUR_MS } from '../../shared/durations.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { DependencyHealth } from '../bus/bus.ts'
import { NOTIFICATION_DELIVERY_GROUP, NOTIFICATIONS } from '../bus/catalogue.ts'
import {
  type ConsumedItem,
  RecordConsumer,
  type RecordConsumerOptions,
  type RecordConsumerStats,
} from '../bus/record-consumer.ts'
import { type Delivery, readDelivery } from './delivery-record.ts'
import { type Fetch, Webhook, type WebhookStats, webhookStopped } from './webhook.ts'

/** Posts at once of one partition. */
const POSTS_AT_ONCE_MAX = 8
/** Notifications remembered as done, since a batch comes again when another one of it was not; beyond it, they are posted twice. */
const REMEMBERED_MAX = 10_000
/** Without a webhook nobody waits for anything. */
const IDLE_GATHER_MS = 1_000
/** How long posts that are under way at a stop may take to be answered, milliseconds. */
const STOP_GRACE_MS = 1_000

export interface WebhookSettings {
  /** '' for none. */
  readonly url: string
  readonly secret: string
  readonly timeoutMs: number
  readonly quiet: boolean
  readonly maxAgeHours: number
  readonly breakerFailures: number
  readonly breakerOpenMs: number
}

export interface NotificationDeliveryOptions
  extends Pick<RecordConsumerOptions<object>, 'bus' | 'parking' | 'policy' | 'clock' | 'random'> {
  readonly webhook: WebhookSettings
  /** Default: the global one. */
  readonly fetch?: Fetch
  readonly log: Logger
}

/** Why a notification is not posted: it came within quiet hours, or is too old. */
type Skip = 'quiet' | 'stale'

export interface NotificationDeliveryStats {
  readonly consumer: RecordConsumerStats
  /** Null without a webhook. */
  readonly webhook: WebhookStats | null
  /** Notifications that are not posted. */
  readonly skipped: Readonly<Record<Skip, number>>
}

export class NotificationDelivery implements Part {
  readonly name = 'notification delivery'
  private readonly options: NotificationDeliveryOptions
  private readonly consumer: RecordConsumer<Delivery>
  private readonly webhook: Webhook | null
  /** Posted or skipped, oldest first. */
  private readonly done = new Set<string>()
  /** What the last post of a notification threw that was its own fault. */
  private readonly refused = new Map<string, unknown>()
  private readonly skipped = { quiet: 0, stale: 0 }
  /** No post begins any more; and none is waited for any more. */
  private readonly stopping = new AbortController()
  private readonly letGo = new AbortController()

  constructor(options: NotificationDeliveryOptions) {
    const { webhook, fetch = globalThis.fetch, clock, log } = options
    this.options = options
    this.webhook = webhook.url === '' ? null : new Webhook({ ...webhook, fetch, clock, log })
    const { bus, parking, policy, random } = options
    this.consumer = new RecordConsumer<Delivery>({
      name: this.name,
      bus,
      group: NOTIFICATION_DELIVERY_GROUP,
      topics: [NOTIFICATIONS],
      decode: this.webhook === null ? () => NOTHING : readDelivery,
      handle: (items) => this.deliver(items),
      gatherMs: this.webhook === null ? IDLE_GATHER_MS : 0,
      parking,
      ...(policy && { policy }),
      clock,
      random,
      log,
    })
  }

  /** @throws BusbarError TOPIC_MISSING */
  async start(): Promise<void> {
    await this.consumer.start()
  }

  /** Begins no further post, gives those under way a moment, and leaves the group; what was not delivered comes again. */
  async stop(deadline: AbortSignal): Promise<void> {
    this.stopping.abort()
    const timer = this.options.clock.after(STOP_GRACE_MS, () => this.letGo.abort())
    const abort = (): void => this.letGo.abort()
    if (deadline.aborted) abort()
    else deadline.addEventListener('abort', abort, { once: true })
    await this.consumer.stop()
    timer.cancel()
    deadline.removeEventListener('abort', abort)
  }

  /** An outage of the webhook degrades nothing else: what is not delivered waits on the topic. */
  health(): DependencyHealth {
    return this.webhook?.health() ?? { state: 'up' }
  }

  stats(): NotificationDeliveryStats {
    const webhook = this.webhook?.stats() ?? null
    return { consumer: this.consumer.stats(), webhook, skipped: { ...this.skipped } }
  }

  /** Rejects with what makes the batch come again when there is such, otherwise with what is the fault of an item. */
  private async deliver(items: readonly ConsumedItem<Delivery>[]): Promise<void> {
    const { webhook } = this
    if (webhook === null) return
    const queues = inOrderOfUsers(items)
    const outages: unknown[] = []
    const faults: unknown[] = []
    const work = async (): Promise<void> => {
      for (let queue = queues.shift(); queue !== undefined && outages.length === 0; queue = queues.shift()) {
        try {
          for (const { value } of queue) await this.deliverOne(webhook, value, items.length === 1)
        } catch (error) {
          // Those behind it in its queue wait, so that its user gets them in order.
          if (isRetryable(error)) outages.push(error)
          else faults.push(error)
        }
      }
    }
    await Promise.all(Array.from({ length: Math.min(POSTS_AT_ONCE_MAX, queues.length) }, work))
    if (outages.length > 0) throw outages[0]
    if (faults.length > 0) throw faults[0]
  }

  /** @param alone it is tried by itself; as one of many it is not posted again to learn that it is refused. */
  private async deliverOne(webhook: Webhook, delivery: Delivery, alone: boolean): Promise<void> {
    const name = delivery.replayed ? `${delivery.id} replayed` : delivery.id
    if (this.done.has(name)) return
    if (!alone && this.refused.has(name)) throw this.refused.get(name)
    const skip = skipOf(delivery, this.options.webhook, this.options.clock.wallMs())
    if (skip !== null) {
      this.skipped[skip]++
    } else {
      if (this.stopping.signal.aborted) throw webhookStopped()
      await this.post(webhook, delivery, name)
    }
    this.done.add(name)
    forgetOldest(this.done, REMEMBERED_MAX)
  }

  private async post(webhook: Webhook, delivery: Delivery, name: string): Promise<void> {
    try {
      await webhook.post(delivery, this.letGo.signal)
      this.refused.delete(name)
    } catch (error) {
      if (!isRetryable(error)) {
        this.refused.set(name, error)
        forgetOldest(this.refused, REMEMBERED_MAX)
      }
      throw error
    }
  }
}

function isRetryable(error: unknown): boolean {
  return error instanceof BusbarError && error.retryable
}

/** What stands for a record that nobody reads. */
const NOTHING: Delivery = { id: '', quiet: false, replayed: false, createdAtMs: 0, body: '' }

/** Nobody wants the alarm of last week on the telephone; what an operator replays somebody wants. */
function skipOf(delivery: Delivery, settings: WebhookSettings, nowMs: number): Skip | null {
  if (delivery.quiet && !settings.quiet) return 'quiet'
  const isStale = nowMs - delivery.createdAtMs > settings.maxAgeHours * HOUR_MS
  return isStale && !delivery.replayed ? 'stale' : null
}

/** A queue for each key, so for each user; what has no key waits for nobody. */
function inOrderOfUsers(items: readonly ConsumedItem<Delivery>[]): (readonly ConsumedItem<Delivery>[])[] {
  const queues = new Map<string | symbol, ConsumedItem<Delivery>[]>()
  for (const item of items) {
    const key = item.record.key ?? Symbol('no key')
    const queue = queues.get(key)
    if (queue === undefined) queues.set(key, [item])
    else queue.push(item)
  }
  return [...queues.values()]
}
