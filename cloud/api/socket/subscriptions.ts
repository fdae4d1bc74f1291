/**
 * The subscriptions of all clients: whether one may be had, the source that it needs, and its end, when the client wants it
 * or when what the caller may do has changed.
 */

import type { Clock } from '../../../shared/clock.ts'
import { ComplaintLimit } from '../../../shared/complaint-limit.ts'
import { BusbarError, messageOf } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/log.ts'
import type { BatchHandler, Bus } from '../../bus/bus.ts'
import { ChatError } from '../../chat/chat.ts'
import type { Caller } from '../../identity/identity.ts'
import type { ApiLimits } from '../limits.ts'
import { placementOf, requireChannel } from './admission.ts'
import type { ChangeFeeds } from './change-feed.ts'
import { ChangePoller, type SeenChange } from './change-poller.ts'
import { CHANNEL_TOPICS, type Channel, isResourceChannel, RESOURCE_CHANNELS, type ResourceChannel } from './channels.ts'
import type { ChatDesk } from './chat/chat-desk.ts'
import { changeFrame } from './event.ts'
import type { FanOut } from './fan-out.ts'
import { criterionOf, type Filter } from './filter.ts'
import { PRESENT_MAX } from './frames.ts'
import type { LiveClient, Subscribed } from './live-client.ts'
import { LiveTail } from './live-tail.ts'
import { SubscribeLimit } from './subscribe-limit.ts'
import type { SubscriptionIndex } from './subscription-index.ts'
import { maySee, type Sight } from './visibility.ts'

export interface SubscriptionsOptions {
  readonly bus: Pick<Bus, 'tail'>
  readonly feeds: ChangeFeeds
  /** Null where there are no conversations. */
  readonly chat: Pick<ChatDesk, 'join' | 'leave'> | null
  readonly siteOfDevice: (deviceId: number) => Promise<number | null>
  readonly index: SubscriptionIndex
  readonly fanOut: FanOut
  readonly onBatch: BatchHandler
  readonly onChanges: (channel: ResourceChannel, changes: readonly SeenChange[]) => Promise<void>
  readonly limits: ApiLimits
  readonly clock: Clock
  readonly log: Logger
}

export class Subscriptions {
  private readonly options: SubscriptionsOptions
  private readonly tail: LiveTail
  private readonly pollers = new Map<ResourceChannel, ChangePoller>()
  /** By channel; those that wait for their source included, unlike in the index. */
  private readonly counts = new Map<Channel, number>()
  private readonly limit: SubscribeLimit
  private readonly complaints: ComplaintLimit
  private running = false

  constructor(options: SubscriptionsOptions) {
    this.options = options
    const { bus, feeds, onBatch, onChanges, clock, log } = options
    this.complaints = new ComplaintLimit(clock)
    this.limit = new SubscribeLimit(clock, options.limits.subscriptionsMax)
    this.tail = new LiveTail({ bus, topics: CHANNEL_TOPICS, clock, log, onBatch })
    for (const channel of RESOURCE_CHANNELS) {
      const feed = feeds[channel]
      if (feed === undefined) continue
      const poller = new ChangePoller({ feed, clock, log, onChanges: (changes) => onChanges(channel, changes) })
      this.pollers.set(channel, poller)
    }
  }

  start(): void {
    this.running = true
  }

  /** Resolves when bus and services are followed no more. */
  async stop(): Promise<void> {
    this.running = false
    await Promise.all([this.tail.stop(), ...[...this.pollers.values()].map((poller) => poller.stop())])
  }

  stats(): { readonly subscriptions: number; readonly following: boolean } {
    let subscriptions = 0
    for (const count of this.counts.values()) subscriptions += count
    return { subscriptions, following: this.tail.running }
  }

  /** Answers the client whatever happens. Never rejects. */
  async subscribe(client: LiveClient, id: string, channel: Channel, filter: Filter): Promise<void> {
    const { subscriptionsMax } = this.options.limits
    const retryAfterMs = this.limit.take(client)
    if (retryAfterMs > 0) {
      const message = `This socket subscribes too often: wait ${retryAfterMs} ms.`
      return client.refuse(id, 'RATE_LIMITED', message, 'Subscribe again after that.', { retryAfterMs })
    }
    if (client.subscriptions.has(id)) {
      const hint = 'Unsubscribe first, or use another id.'
      return client.refuse(id, 'SUBSCRIPTION_EXISTS', 'a subscription has this id', hint)
    }
    if (client.subscriptions.size >= subscriptionsMax) {
      const message = `a client may have ${subscriptionsMax} subscriptions`
      return client.refuse(id, 'SUBSCRIPTIONS_MAX', message, 'Subscribe by site, or unsubscribe from some.')
    }
    try {
      requireChannel(client.caller, { channel, filter })
    } catch (error) {
      const { code, message, hint } = refusalOf(error)
      return client.refuse(id, code, message, hint, { asked: channel })
    }
    const subscribed: Subscribed = { channel, filter, placement: null }
    client.subscriptions.set(id, subscribed)
    this.count(channel, 1)
    try {
      if (channel === 'chat') {
        await this.joinChat(client, id, subscribed)
      } else if (isResourceChannel(channel)) {
        await this.limit.inTurn(client, async () => {
          if (isOpen(client, id, subscribed)) await this.joinResources(client, id, subscribed, channel)
        })
      } else {
        await this.tail.follow()
        this.admit(client, id, subscribed)
      }
    } catch (error) {
      const isRefused = error instanceof ChatError
      if (!isRefused && this.complaints.isDue())
        this.options.log.warn({ error: messageOf(error), channel }, 'a live channel cannot be followed')
      if (client.subscriptions.get(id) !== subscribed) return
      this.drop(client, id)
      if (isRefused) return client.refuse(id, error.code, error.message, error.hint ?? 'Ask for less.')
      const hint = (error instanceof BusbarError ? error.hint : undefined) ?? 'Subscribe again in a moment.'
      const code = isResourceChannel(channel) ? 'RESOURCES_UNAVAILABLE' : 'BUS_UNAVAILABLE'
      client.refuse(id, code, messageOf(error), hint, { isOurs: true })
    }
  }

  /** False when there is none of this id. */
  drop(client: LiveClient, id: string): boolean {
    const subscribed = client.subscriptions.get(id)
    if (subscribed === undefined) return false
    client.subscriptions.delete(id)
    const { channel, placement } = subscribed
    this.count(channel, -1)
    if (channel === 'chat') this.options.chat?.leave(client, id)
    if (placement !== null) this.options.index.remove(channel, placement, client)
    return true
  }

  dropAll(client: LiveClient): void {
    for (const id of [...client.subscriptions.keys()]) this.drop(client, id)
  }

  /** What the caller may do has changed: subscriptions that are not allowed any more end, the others go on as is allowed now. */
  judgeAgain(client: LiveClient, caller: Caller): void {
    const { index } = this.options
    client.caller = caller
    for (const [id, subscribed] of [...client.subscriptions]) {
      try {
        requireChannel(caller, subscribed)
      } catch (error) {
        this.end(client, id, error)
        continue
      }
      const { channel, placement } = subscribed
      if (placement !== null) {
        index.remove(channel, placement, client)
        subscribed.placement = placementOf(caller, subscribed)
        index.add(channel, subscribed.placement, client)
      }
      void this.judgeSubject(client, id, subscribed)
    }
  }

  /**
   * A subscription to one thing that the caller may not see any more would go on without a word, since none of its events
   * comes through. Never rejects.
   */
  private async judgeSubject(client: LiveClient, id: string, subscribed: Subscribed): Promise<void> {
    if (client.viewerOf(subscribed.channel).sites === 'all') return
    let sight: Sight | null = null
    try {
      sight = await this.subjectOf(subscribed)
    } catch {
      // It cannot be looked up now: the subscription goes on, and still lets nothing through.
    }
    if (sight === null || client.subscriptions.get(id) !== subscribed) return
    if (maySee(client.viewerOf(subscribed.channel), sight)) return
    const words = 'what it is about is at a site that the caller may not see any more'
    this.end(client, id, new BusbarError(words, { code: 'ROLE_MISSING', hint: 'An administrator can give the role.' }))
  }

  /** Who may see the one thing that a filter names; null when it names several, or what there is not. */
  private async subjectOf({ channel, filter }: Subscribed): Promise<Sight | null> {
    const { siteOfDevice, feeds } = this.options
    if (filter.deviceId !== undefined) {
      const siteId = await siteOfDevice(filter.deviceId)
      return siteId === null ? null : { sites: [siteId], askedBy: null }
    }
    const criterion = criterionOf(filter)
    const namesOne = criterion === 'commandId' || criterion === 'taskId' || criterion === 'alertId'
    if (!namesOne || !isResourceChannel(channel)) return null
    const [change] = (await feeds[channel]?.present(filter, 1, { id: '', sites: 'all' })) ?? []
    return change ?? null
  }

  private end(client: LiveClient, id: string, why: unknown): void {
    this.drop(client, id)
    client.reply({ type: 'ended', id, ...refusalOf(why) })
  }

  /** Its events come by themselves, not by the index. */
  private async joinChat(client: LiveClient, id: string, subscribed: Subscribed): Promise<void> {
    const { chat } = this.options
    if (chat === null) throw chatUnavailable()
    await chat.join(client, id, subscribed.filter.userId ?? '', (marks) => {
      if (isOpen(client, id, subscribed)) client.reply({ type: 'subscribed', id, marks })
    })
  }

  private async joinResources(
    client: LiveClient,
    id: string,
    subscribed: Subscribed,
    channel: ResourceChannel,
  ): Promise<void> {
    const poller = this.pollers.get(channel)
    if (poller === undefined) throw new Error(`this core has no ${channel}`)
    await poller.join(subscribed.filter, PRESENT_MAX, client.viewerOf(channel), {
      isWanted: () => isOpen(client, id, subscribed),
      admit: (present) => {
        if (!this.admit(client, id, subscribed)) return
        // What the caller may see may have changed while the service was asked.
        const visible = present.filter((change) => maySee(client.viewerOf(channel), change))
        const frames = visible.map((change) => changeFrame(channel, change))
        this.options.fanOut.sendTo(client, channel, frames)
      },
    })
  }

  /** False when it has unsubscribed or gone while its source was being joined. */
  private admit(client: LiveClient, id: string, subscribed: Subscribed): boolean {
    if (!isOpen(client, id, subscribed)) return false
    subscribed.placement = placementOf(client.caller, subscribed)
    this.options.index.add(subscribed.channel, subscribed.placement, client)
    client.reply({ type: 'subscribed', id })
    return true
  }

  /** Takes note of a subscription that comes or goes; a source that nobody wants any more may rest. */
  private count(channel: Channel, change: 1 | -1): void {
    this.counts.set(channel, (this.counts.get(channel) ?? 0) + change)
    if (change > 0 || !this.running || channel === 'chat') return
    if (isResourceChannel(channel)) {
      if (this.counts.get(channel) === 0) this.pollers.get(channel)?.rest()
      return
    }
    const onBus = [...this.counts].some(([name, count]) => !isResourceChannel(name) && name !== 'chat' && count > 0)
    if (!onBus) this.tail.rest()
  }
}

/** The client has neither unsubscribed nor gone. */
function isOpen(client: LiveClient, id: string, subscribed: Subscribed): boolean {
  return !client.closed && client.subscriptions.get(id) === subscribed
}

/** Where conversations are not served. */
export function chatUnavailable(): ChatError {
  return new ChatError('NOT_FOUND', 'This core has no conversations.', {
    code: 'CHAT_UNAVAILABLE',
    hint: 'Connect to one that has.',
  })
}

function refusalOf(error: unknown): { readonly code: string; readonly message: string; readonly hint: string } {
  const { code = 'FORBIDDEN', hint = 'Ask for less.' } = error instanceof BusbarError ? error : {}
  return { code, message: messageOf(error), hint }
}
