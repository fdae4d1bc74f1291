/**
 * The WebSocket hub: takes the clients' frames, follows the bus and the services' resources, and hands every event to the
 * clients that want it.
 *
 * Frames go to each socket directly, corked by batch, rather than through the server's publish topics: that drops
 * silently for a slow socket, while here every client is told what it missed; measured at 100 to 1,000 sockets both
 * cost the same.
 */

import type { Static } from '@sinclair/typebox'
import type { Clock, Timer } from '../../../shared/clock.ts'
import { BusbarError, messageOf } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/log.ts'
import type { Bus, ConsumedBatch } from '../../bus/bus.ts'
import type { ApiLimits } from '../limits.ts'
import type { ApiMetrics } from '../metrics.ts'
import type { ChangeFeed, ChangeFeeds } from './change-feed.ts'
import { ChangePoller } from './change-poller.ts'
import { type Channel, channelOfTopic, isResourceChannel, RESOURCE_CHANNELS, type ResourceChannel } from './channels.ts'
import { busEvent, changeEvent, changeFrame, notificationEvent } from './event.ts'
import { FanOut } from './fan-out.ts'
import { type Filter, filterKey } from './filter.ts'
import { type FrameErrorCode, PRESENT_MAX, parseFrame, type SubscribeFrame } from './frames.ts'
import { type ClientEvents, GOING_AWAY, LiveClient, type LiveSocket, type Subscribed } from './live-client.ts'
import { LiveTail } from './live-tail.ts'
import { RecentIds } from './recent-ids.ts'
import { SubscriptionIndex } from './subscription-index.ts'

export interface HubOptions {
  readonly bus: Pick<Bus, 'tail'>
  /** Of the channels of resources; a channel without one cannot be subscribed to. Default none. */
  readonly feeds?: ChangeFeeds
  readonly limits: ApiLimits
  readonly metrics: ApiMetrics
  readonly clock: Clock
  readonly log: Logger
}

/** How often clients that are behind are looked at. */
const REVIEW_MS = 1000
type Subscription = Static<typeof SubscribeFrame> & { readonly channel: Channel }

export class Hub {
  private readonly options: HubOptions
  private readonly clients = new Set<LiveClient>()
  private readonly index = new SubscriptionIndex()
  private readonly fanOut: FanOut
  private readonly tail: LiveTail
  private readonly recentNotifications = new RecentIds()
  private readonly pollers = new Map<ResourceChannel, ChangePoller>()
  private readonly clientEvents: ClientEvents
  private reviewing: Timer | null = null
  /** By channel; those that wait for their source included, unlike in the index. */
  private readonly subscriptions = new Map<Channel, number>()

  constructor(options: HubOptions) {
    this.options = options
    const { bus, feeds = {}, clock, log, metrics } = options
    const onMalformed = (channel: Channel): void => metrics.valuesMalformed.inc({ channel })
    this.fanOut = new FanOut({ index: this.index, clock, onMalformed })
    this.tail = new LiveTail({ bus, clock, log, onBatch: (batch) => this.sendBatch(batch) })
    for (const channel of RESOURCE_CHANNELS) {
      const feed = feeds[channel]
      if (feed !== undefined) this.pollers.set(channel, this.pollerOf(channel, feed))
    }
    this.clientEvents = {
      sent: (channel, count) => metrics.eventsSent.inc({ channel }, count),
      missed: (channel, count) => metrics.eventsMissed.inc({ channel }, count),
      cut: (reason) => metrics.clientsCut.inc({ reason }),
    }
  }

  start(): void {
    this.reviewing ??= this.options.clock.every(REVIEW_MS, () => {
      const nowMs = this.options.clock.monotonicMs()
      for (const client of this.clients) client.review(nowMs)
    })
  }

  /** Tells every client to go (1001) and stops following bus and services. */
  async stop(): Promise<void> {
    this.reviewing?.cancel()
    this.reviewing = null
    for (const client of this.clients) client.close(GOING_AWAY, 'the server is stopping')
    await Promise.all([this.tail.stop(), ...[...this.pollers.values()].map((poller) => poller.stop())])
  }

  /** True when another client is one too many. */
  get full(): boolean {
    return this.clients.size >= this.options.limits.socketsMax
  }

  /** Connected clients, their subscriptions, and whether the bus is being followed. */
  stats(): { readonly clients: number; readonly subscriptions: number; readonly following: boolean } {
    let subscriptions = 0
    for (const count of this.subscriptions.values()) subscriptions += count
    return { clients: this.clients.size, subscriptions, following: this.tail.running }
  }

  open(socket: LiveSocket): LiveClient {
    const client = new LiveClient(socket, this.options.limits, this.clientEvents)
    this.clients.add(client)
    return client
  }

  drained(client: LiveClient): void {
    client.review(this.options.clock.monotonicMs())
  }

  closed(client: LiveClient): void {
    client.closed = true
    this.clients.delete(client)
    for (const id of [...client.subscriptions.keys()]) this.drop(client, id)
  }

  /** Takes one frame of a client. Never rejects. */
  async message(client: LiveClient, text: string | Uint8Array): Promise<void> {
    const parsed = parseFrame(text)
    if (!('frame' in parsed)) return refuse(client, parsed.id, 'FRAME_INVALID', parsed.message, parsed.hint)
    const { frame } = parsed
    switch (frame.type) {
      case 'ping':
        return client.reply({ type: 'pong', ...(frame.id === undefined ? {} : { id: frame.id }) })
      case 'unsubscribe':
        if (this.drop(client, frame.id)) return client.reply({ type: 'unsubscribed', id: frame.id })
        return refuse(client, frame.id, 'SUBSCRIPTION_UNKNOWN', 'there is no subscription of this id', 'Nothing to do.')
      case 'subscribe':
        return await this.subscribe(client, frame as Subscription)
    }
  }

  private async subscribe(client: LiveClient, frame: Subscription): Promise<void> {
    const { id, channel, filter = {} } = frame
    const { subscriptionsMax } = this.options.limits
    if (client.subscriptions.has(id)) {
      return refuse(
        client,
        id,
        'SUBSCRIPTION_EXISTS',
        'a subscription has this id',
        'Unsubscribe first, or use another id.',
      )
    }
    if (client.subscriptions.size >= subscriptionsMax) {
      const message = `a client may have ${subscriptionsMax} subscriptions`
      return refuse(client, id, 'SUBSCRIPTIONS_MAX', message, 'Subscribe by site, or unsubscribe from some.')
    }
    const subscribed = { channel, key: filterKey(filter), active: false }
    client.subscriptions.set(id, subscribed)
    this.count(channel, 1)
    try {
      if (isResourceChannel(channel)) {
        await this.joinResources(client, id, subscribed, channel, filter)
      } else {
        await this.tail.follow()
        this.admit(client, id, subscribed)
      }
    } catch (error) {
      this.drop(client, id)
      const hint = (error instanceof BusbarError ? error.hint : undefined) ?? 'Subscribe again in a moment.'
      this.options.log.warn({ error: messageOf(error), channel }, 'a live channel cannot be followed')
      const code = isResourceChannel(channel) ? 'RESOURCES_UNAVAILABLE' : 'BUS_UNAVAILABLE'
      refuse(client, id, code, messageOf(error), hint)
    }
  }

  private async joinResources(
    client: LiveClient,
    id: string,
    subscribed: Subscribed,
    channel: ResourceChannel,
    filter: Filter,
  ): Promise<void> {
    const poller = this.pollers.get(channel)
    if (poller === undefined) throw new Error(`this core has no ${channel}`)
    await poller.join(filter, PRESENT_MAX, (present) => {
      if (!this.admit(client, id, subscribed)) return
      const frames = present.map((change) => changeFrame(channel, change))
      this.fanOut.sendTo(client, channel, frames)
    })
  }

  /** False when it has unsubscribed or gone while its source was being joined. */
  private admit(client: LiveClient, id: string, subscribed: Subscribed): boolean {
    if (client.closed || client.subscriptions.get(id) !== subscribed) return false
    subscribed.active = true
    this.index.add(subscribed.channel, subscribed.key, client)
    client.reply({ type: 'subscribed', id })
    return true
  }

  private drop(client: LiveClient, id: string): boolean {
    const subscribed = client.subscriptions.get(id)
    if (subscribed === undefined) return false
    client.subscriptions.delete(id)
    const { channel, key, active } = subscribed
    this.count(channel, -1)
    if (active) this.index.remove(channel, key, client)
    return true
  }

  /** Takes note of a subscription that comes or goes; a source that nobody wants any more may rest. */
  private count(channel: Channel, change: 1 | -1): void {
    this.subscriptions.set(channel, (this.subscriptions.get(channel) ?? 0) + change)
    if (change > 0 || this.reviewing === null) return
    if (isResourceChannel(channel)) {
      if (this.subscriptions.get(channel) === 0) this.pollers.get(channel)?.rest()
      return
    }
    const onBus = [...this.subscriptions].some(([name, count]) => !isResourceChannel(name) && count > 0)
    if (!onBus) this.tail.rest()
  }

  /** Never rejects: a value nobody can use must not make the bus deliver it again. */
  private async sendBatch(batch: ConsumedBatch): Promise<void> {
    const channel = channelOfTopic(batch.topic)
    if (channel === 'notifications') {
      const events = batch.records.flatMap((record) => notificationEvent(record, this.recentNotifications) ?? [])
      await this.fanOut.send(channel, events, (event) => event)
    } else if (channel !== undefined) {
      await this.fanOut.send(channel, batch.records, (record) => busEvent(channel, record))
    }
  }

  private pollerOf(channel: ResourceChannel, feed: ChangeFeed): ChangePoller {
    const { clock, log } = this.options
    return new ChangePoller({
      feed,
      onChanges: (changes) => this.fanOut.send(channel, changes, (change) => changeEvent(channel, change)),
      clock,
      log,
    })
  }
}

function refuse(client: LiveClient, id: string | null, code: FrameErrorCode, message: string, hint: string): void {
  client.reply({ type: 'error', id, code, message, hint })
}
