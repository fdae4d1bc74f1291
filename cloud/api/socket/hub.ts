/**
 * The WebSocket hub: takes the clients' frames, follows the bus and the services' resources, and hands every event to the
 * clients that want it.
 *
 * Frames go to each socket directly, corked by batch, rather than through the server's publish topics: that drops
 * silently for a slow socket, while here every client is told what it missed; measured at 100 to 1,000 sockets both
 * cost the same.
 */

import type { Clock, Timer } from '../../../shared/clock.ts'
import type { Logger } from '../../../shared/log.ts'
import type { Bus, ConsumedBatch } from '../../bus/bus.ts'
import type { Authentication, Caller } from '../../identity/identity.ts'
import type { ApiLimits } from '../limits.ts'
import type { ApiMetrics } from '../metrics.ts'
import { CallerWatch } from './caller-watch.ts'
import type { ChangeFeeds } from './change-feed.ts'
import { type Channel, channelOfTopic } from './channels.ts'
import { ChatDesk, type ChatDeskStats, type ChatServices } from './chat/chat-desk.ts'
import { busEvent, changeEvent, notificationEvent } from './event.ts'
import { FanOut } from './fan-out.ts'
import { parseFrame } from './frames.ts'
import {
  type ClientEvents,
  GOING_AWAY,
  LiveClient,
  type LiveSocket,
  LOGIN_ENDED,
  TRY_AGAIN_LATER,
} from './live-client.ts'
import { RecentIds } from './recent-ids.ts'
import { RefusalLimit } from './refusal-limit.ts'
import { SubscriptionIndex } from './subscription-index.ts'
import { chatUnavailable, Subscriptions } from './subscriptions.ts'

export interface HubOptions {
  readonly bus: Pick<Bus, 'tail'>
  /** Of the channels of resources; a channel without one cannot be subscribed to. Default none. */
  readonly feeds?: ChangeFeeds
  /** Without it there are no conversations. */
  readonly chat?: ChatServices | undefined
  readonly authentication: Pick<Authentication, 'recheck'>
  /** How often the callers of open sockets are looked at again, milliseconds. */
  readonly recheckMs: number
  /** The site of a device; null when there is no such device. */
  readonly siteOfDevice: (deviceId: number) => Promise<number | null>
  readonly limits: ApiLimits
  readonly metrics: ApiMetrics
  readonly clock: Clock
  readonly log: Logger
}

/** How often clients that are behind are looked at. */
const REVIEW_MS = 1000
/** Codes of what a caller may not, for lack of a right. */
const DENIALS: ReadonlySet<string> = new Set(['FORBIDDEN', 'ROLE_MISSING', 'SCOPE_MISSING'])

/** What was asked for is a channel, or the type of a frame. */
export type OnDenied = (code: string, asked: string | null) => void

export class Hub {
  private readonly options: HubOptions
  private readonly clients = new Set<LiveClient>()
  private readonly fanOut: FanOut
  private readonly subscriptions: Subscriptions
  private readonly chat: ChatDesk | null
  private readonly callers: CallerWatch
  private readonly recentNotifications = new RecentIds()
  private readonly clientEvents: ClientEvents
  private reviewing: Timer | null = null

  constructor(options: HubOptions) {
    this.options = options
    const { bus, feeds = {}, chat, authentication, recheckMs, siteOfDevice, limits, clock, log, metrics } = options
    const index = new SubscriptionIndex()
    const onMalformed = (channel: Channel): void => metrics.valuesMalformed.inc({ channel })
    this.fanOut = new FanOut({ index, clock, onMalformed })
    this.chat =
      chat === undefined
        ? null
        : new ChatDesk({
            ...{ ...chat, clock, log },
            onDelivered: (seconds) => metrics.chatDeliverySeconds.observe(seconds),
            onMalformed: () => onMalformed('chat'),
          })
    this.subscriptions = new Subscriptions({
      ...{ bus, feeds, chat: this.chat, siteOfDevice, index, limits, clock, log },
      fanOut: this.fanOut,
      onBatch: (batch) => this.sendBatch(batch),
      onChanges: (channel, changes) => this.fanOut.send(channel, changes, (change) => changeEvent(channel, change)),
    })
    this.callers = new CallerWatch({
      ...{ authentication, clock, log, periodMs: recheckMs, graceMs: limits.recheckGraceMs },
      onGone: (client) => {
        metrics.clientsCut.inc({ reason: 'login-ended' })
        client.close(LOGIN_ENDED, 'the login has ended: log in again')
      },
      onChanged: (client, caller) => this.subscriptions.judgeAgain(client, caller),
      onUnknown: (client) => {
        metrics.clientsCut.inc({ reason: 'login-unknown' })
        client.close(TRY_AGAIN_LATER, 'the login could not be looked at for too long')
      },
    })
    this.clientEvents = {
      sent: (channel, count) => metrics.eventsSent.inc({ channel }, count),
      missed: (channel, count) => metrics.eventsMissed.inc({ channel }, count),
      cut: (reason) => metrics.clientsCut.inc({ reason }),
    }
  }

  start(): void {
    this.callers.start()
    this.subscriptions.start()
    this.reviewing ??= this.options.clock.every(REVIEW_MS, () => {
      const nowMs = this.options.clock.monotonicMs()
      for (const client of this.clients) this.review(client, nowMs)
    })
  }

  /** Tells every client to go (1001) and stops following bus and services. */
  async stop(): Promise<void> {
    this.reviewing?.cancel()
    this.reviewing = null
    for (const client of this.clients) client.close(GOING_AWAY, 'the server is stopping')
    await Promise.all([this.subscriptions.stop(), this.chat?.stop(), this.callers.stop()])
  }

  /** True when another client is one too many. */
  get full(): boolean {
    return this.clients.size >= this.options.limits.socketsMax
  }

  /** True when the caller has as many sockets as one may have. */
  fullFor(caller: Caller): boolean {
    return caller.kind !== 'local' && this.callers.socketsOf(caller) >= this.options.limits.socketsPerCallerMax
  }

  /** Connected clients, their subscriptions, and whether the bus is being followed. */
  stats(): { readonly clients: number; readonly subscriptions: number; readonly following: boolean } {
    return { clients: this.clients.size, ...this.subscriptions.stats() }
  }

  /** Of conversations; null where there are none. */
  chatStats(): ChatDeskStats | null {
    return this.chat?.stats() ?? null
  }

  /** @param onDenied told the code of each frame that asks for what the caller may not, and what it asked for. */
  open(socket: LiveSocket, caller: Caller, onDenied: OnDenied): LiveClient {
    const { limits, clock, chat } = this.options
    const refusals = new RefusalLimit(chat?.settings.refusalsMax ?? Number.POSITIVE_INFINITY)
    const client = new LiveClient({
      ...{ socket, caller, nowMs: clock.monotonicMs(), limits, events: this.clientEvents },
      mayRefuse: (code, asked) => {
        if (DENIALS.has(code)) onDenied(code, asked)
        return refusals.admits(clock.monotonicMs())
      },
    })
    this.clients.add(client)
    this.callers.add(client)
    return client
  }

  drained(client: LiveClient): void {
    this.review(client, this.options.clock.monotonicMs())
  }

  /** The client has answered a ping. */
  pong(client: LiveClient, payload: string): void {
    this.chat?.pong(client, payload)
  }

  closed(client: LiveClient): void {
    client.closed = true
    this.clients.delete(client)
    this.callers.remove(client)
    this.subscriptions.dropAll(client)
    this.chat?.closed(client)
  }

  /** Takes one frame of a client. Never rejects. */
  async message(client: LiveClient, text: string | Uint8Array): Promise<void> {
    // One that was told to go gets no more.
    if (client.closed) return
    const parsed = parseFrame(text, this.options.limits.frameBytesMax)
    if (!('frame' in parsed)) {
      const { id, code = 'FRAME_INVALID', message, hint, fields = [] } = parsed
      return client.refuse(id, code, message, hint, { fields })
    }
    const { frame } = parsed
    switch (frame.type) {
      case 'ping':
        return client.reply({ type: 'pong', ...(frame.id === undefined ? {} : { id: frame.id }) })
      case 'unsubscribe':
        if (this.subscriptions.drop(client, frame.id)) return client.reply({ type: 'unsubscribed', id: frame.id })
        return client.refuse(frame.id, 'SUBSCRIPTION_UNKNOWN', 'there is no subscription of this id', 'Nothing to do.')
      case 'subscribe':
        return await this.subscriptions.subscribe(client, frame.id, frame.channel, frame.filter ?? {})
      default: {
        if (this.chat !== null) return this.chat.take(client, frame)
        const { code, message, hint = '' } = chatUnavailable()
        return client.refuse(frame.id ?? null, code, message, hint)
      }
    }
  }

  private review(client: LiveClient, nowMs: number): void {
    client.review(nowMs)
    this.chat?.review(client)
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
}
