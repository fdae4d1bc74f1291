/**
 * Conversations on the WebSocket: follows their topics while anybody is subscribed to `chat`, and takes what clients say.
 *
 * What a socket is sent of messages is without a gap and without a repeat, whatever the bus, the socket or this core lose: see
 * chat-cursor.ts. Who is typing, who is there and how far messages have come is sent as it happens, and may be missed.
 */

import { type Clock, sleep, type Timer } from '../../../../shared/clock.ts'
import { ComplaintLimit } from '../../../../shared/complaint-limit.ts'
import { messageOf } from '../../../../shared/errors.ts'
import type { Logger } from '../../../../shared/log.ts'
import { nextTurn } from '../../../../shared/waiting.ts'
import type { Bus } from '../../../bus/bus.ts'
import { CHAT_TOPICS } from '../../../bus/catalogue.ts'
import {
  ChatError,
  type LastRevision,
  type Messages,
  type Presence,
  type Receipts,
  type Rosters,
} from '../../../chat/chat.ts'
import type { LiveClient } from '../live-client.ts'
import { LiveTail } from '../live-tail.ts'
import { CatchUps } from './catch-ups.ts'
import { ChatFanOut } from './chat-fan-out.ts'
import type { ChatFrame } from './chat-frames.ts'
import {
  COMPARE_GRACE_MS,
  COMPARE_MS,
  COMPARE_REACH_MS,
  COMPARE_USERS,
  HOLD_MS,
  TYPING_SWEEP_MS,
} from './chat-limits.ts'
import { ChatRequests } from './chat-requests.ts'
import { type ChatMarks, ChatSeat } from './chat-seat.ts'
import { MarkReads } from './mark-reads.ts'
import { PresenceWatch } from './presence-watch.ts'
import { Resumes } from './resumes.ts'
import { TypingOut } from './typing-out.ts'

/** What a core that has conversations gives to its sockets. */
export interface ChatServices {
  readonly messages: Pick<Messages, 'send' | 'since' | 'marksOf' | 'lastRevisions'>
  readonly receipts: Pick<Receipts, 'delivered' | 'read'>
  readonly presence: Pick<Presence, 'open' | 'close' | 'touch' | 'state' | 'changedSince' | 'audience'>
  /** Those that are forgotten here when members change. */
  readonly rosters: Pick<Rosters, 'of' | 'forget'>
  readonly bus: Pick<Bus, 'tail' | 'publish'>
  readonly settings: {
    /** One user in one conversation is said to be typing once in so long, milliseconds. */
    readonly typingIntervalMs: number
    /** Who says no more that they are typing has stopped after so long, milliseconds. */
    readonly typingExpiryMs: number
    /** Frames of one socket that may be refused within a minute; at one more it is closed (1008). */
    readonly refusalsMax: number
  }
}

export interface ChatDeskOptions extends ChatServices {
  /** From when a message was sent until its recipient's socket had it. */
  readonly onDelivered: (seconds: number) => void
  readonly onMalformed: () => void
  readonly clock: Clock
  readonly log: Logger
}

export interface ChatDeskStats {
  readonly sockets: number
  readonly users: number
  /** What sockets missed and the database is asked for: at present, and since the start. */
  readonly catchUps: ReturnType<CatchUps['stats']>
  readonly typing: ReturnType<TypingOut['stats']> & { readonly shown: number }
  /** Frames about conversations, by code. */
  readonly refused: Readonly<Record<string, number>>
}

export class ChatDesk {
  private readonly options: ChatDeskOptions
  private readonly tail: LiveTail
  private readonly seats = new Map<LiveClient, ChatSeat>()
  private readonly fanOut: ChatFanOut
  private readonly catchUps: CatchUps
  private readonly marks: MarkReads
  private readonly resumes: Resumes
  private readonly typing: TypingOut
  private readonly requests: ChatRequests
  private readonly watch: PresenceWatch
  private readonly complaints: ComplaintLimit
  private timers: Timer[] = []
  private comparing: Promise<void> | null = null
  /** When the last comparison that succeeded began, Unix milliseconds. */
  private comparedMs = 0
  private readonly stopping = new AbortController()

  constructor(options: ChatDeskOptions) {
    this.options = options
    const { messages, receipts, presence, rosters, bus, settings, onMalformed, clock, log } = options
    this.complaints = new ComplaintLimit(clock)
    this.fanOut = new ChatFanOut({ rosters, typingExpiryMs: settings.typingExpiryMs, onMalformed, clock })
    this.tail = new LiveTail({ bus, topics: CHAT_TOPICS, onBatch: (batch) => this.fanOut.send(batch), clock, log })
    this.catchUps = new CatchUps({ messages, onMoved: (seat, id) => this.resumes.moved(seat, id), clock, log })
    this.marks = new MarkReads(messages)
    this.resumes = new Resumes({
      catchUps: this.catchUps,
      onDelivered: (marks) => void receipts.delivered(marks),
      clock,
    })
    this.typing = new TypingOut({ bus, rosters, intervalMs: settings.typingIntervalMs, clock })
    this.requests = new ChatRequests({
      ...{ messages, receipts, presence, clock, log },
      typing: this.typing,
      resumes: this.resumes,
      seatOf: (client) => this.seats.get(client) ?? null,
    })
    this.watch = new PresenceWatch({
      ...{ presence, clock, log },
      localUserIds: () => this.fanOut.userIds,
      onChange: (change, audience) => this.fanOut.tellPresence(change, audience),
    })
  }

  /** Resolves when the topics are followed no more, and nothing is looked up. */
  async stop(): Promise<void> {
    this.stopping.abort()
    this.rest()
    this.catchUps.stop()
    await Promise.all([this.tail.stop(), this.watch.stop(), this.comparing])
  }

  stats(): ChatDeskStats {
    return {
      sockets: this.seats.size,
      users: this.fanOut.userIds.length,
      catchUps: this.catchUps.stats(),
      typing: { ...this.typing.stats(), shown: this.fanOut.typingCount },
      refused: this.requests.stats(),
    }
  }

  /**
   * A subscription of the client: calls `admit` when everything from now on will come, with the last change of each
   * conversation that the user is in, unless it has gone meanwhile.
   * @throws ChatError CHAT_USER_FIXED; rejects when bus or database cannot be asked.
   */
  async join(
    client: LiveClient,
    subscriptionId: string,
    userId: string,
    admit: (marks: ChatMarks) => void,
  ): Promise<void> {
    const { presence, clock } = this.options
    const known = this.seats.get(client)
    if (known !== undefined && known.userId !== userId) throw userFixed(known.userId)
    const seat =
      known ?? new ChatSeat(client, userId, (each, conversationId) => this.catchUps.want(each, conversationId))
    seat.holders.add(subscriptionId)
    if (known === undefined) this.open(seat)
    if (seat.hasBegun) return admit(seat.marks)
    await this.tail.follow()
    // After the topics are followed: what is not in it comes.
    const begins = await this.marks.of(userId)
    if (!seat.isOpen || !seat.holders.has(subscriptionId)) return
    if (seat.hasBegun) return admit(seat.marks)
    seat.begin(begins, clock.wallMs())
    presence.open(userId, seat)
    admit(seat.marks)
    seat.answered()
    if (seat.isHeld) seat.holding = clock.after(HOLD_MS, () => this.release(seat))
  }

  /** Without effect for a subscription that has gone. */
  leave(client: LiveClient, subscriptionId: string): void {
    const seat = this.seats.get(client)
    if (seat?.holders.delete(subscriptionId) !== true || seat.holders.size > 0) return
    this.seats.delete(client)
    this.fanOut.remove(seat)
    seat.close()
    this.resumes.close(seat)
    if (seat.hasBegun) this.options.presence.close(seat.userId, seat)
    if (this.seats.size > 0) return
    this.rest()
    if (!this.stopping.signal.aborted) this.tail.rest()
  }

  /** The socket is closed. */
  closed(client: LiveClient): void {
    this.requests.forget(client)
  }

  /** Takes one frame of a client, and answers it. Never throws. */
  take(client: LiveClient, frame: ChatFrame): void {
    this.requests.take(client, frame)
  }

  /** Everything up to the ping with this payload has come. */
  pong(client: LiveClient, payload: string): void {
    const seat = this.seats.get(client)
    const arrived = seat?.arrivals.pong(payload) ?? []
    if (seat === undefined || arrived.length === 0) return
    const { receipts, clock, onDelivered } = this.options
    const nowMs = clock.wallMs()
    const { userId, sinceMs } = seat
    void receipts.delivered(arrived.map(({ conversationId, position }) => ({ userId, conversationId, position })))
    for (const { sentAtMs } of arrived) {
      // What was sent before waited for its recipient.
      if (sentAtMs >= sinceMs) onDelivered(Math.max(0, nowMs - sentAtMs) / 1000)
    }
    seat.ping()
  }

  /** The client may take more now. */
  review(client: LiveClient): void {
    const seat = this.seats.get(client)
    if (seat === undefined) return
    this.catchUps.retry(seat)
    seat.ping()
  }

  private open(seat: ChatSeat): void {
    this.seats.set(seat.client, seat)
    this.fanOut.add(seat)
    if (this.timers.length > 0 || this.stopping.signal.aborted) return
    const { clock } = this.options
    this.comparedMs = clock.wallMs()
    this.timers = [
      clock.every(TYPING_SWEEP_MS, () => this.fanOut.sweepTyping()),
      clock.every(COMPARE_MS, () => {
        this.comparing ??= this.compare().finally(() => {
          this.comparing = null
        })
      }),
    ]
    this.watch.start()
  }

  /** Nobody is subscribed. */
  private rest(): void {
    for (const timer of this.timers) timer.cancel()
    this.timers = []
    this.watch.rest()
  }

  private release(seat: ChatSeat): void {
    seat.release()
    seat.flush(this.options.clock.monotonicMs())
  }

  /** What the topics lost is found in the database. Never rejects. */
  private async compare(): Promise<void> {
    const { messages, clock, log } = this.options
    const { signal } = this.stopping
    try {
      const { userIds } = this.fanOut
      const stored: LastRevision[] = []
      const nowMs = clock.wallMs()
      // While the database was away, or this core stood still, as much may have been lost as at any time.
      const sinceMs = Math.min(this.comparedMs, nowMs) - COMPARE_REACH_MS
      for (let i = 0; i < userIds.length && !signal.aborted; i += COMPARE_USERS) {
        const page = await messages.lastRevisions(userIds.slice(i, i + COMPARE_USERS), sinceMs)
        for (const each of page) stored.push(each)
        await nextTurn()
      }
      this.comparedMs = nowMs
      // Most of what is missing is on its way.
      if (stored.length > 0) await sleep(clock, COMPARE_GRACE_MS, signal)
      this.settle(stored)
    } catch (error) {
      if (this.complaints.isDue()) log.warn({ error: messageOf(error) }, 'sockets cannot be compared; trying again')
    }
  }

  private settle(stored: readonly LastRevision[]): void {
    const touched = new Set<ChatSeat>()
    for (const { userId, conversationId, lastRevision } of stored) {
      for (const seat of this.fanOut.seatsOf(userId)) {
        if (!seat.hasBegun || seat.isHeld) continue
        if (seat.compare(conversationId, lastRevision)) touched.add(seat)
      }
    }
    const nowMs = this.options.clock.monotonicMs()
    for (const seat of touched) seat.flush(nowMs)
  }
}

function userFixed(userId: string): ChatError {
  return new ChatError('CONFLICT', `This socket has the conversations of ${userId}.`, {
    code: 'CHAT_USER_FIXED',
    hint: 'Open another socket for another user.',
  })
}
