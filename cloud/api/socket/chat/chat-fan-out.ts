/**
 * Hands what the bus has to the sockets of those whom it is for: records name them, so nothing is asked. One frame is shared by
 * all who get it, and other work has its turn in between.
 */

import type { Clock } from '../../../../shared/clock.ts'
import { nextTurn } from '../../../../shared/waiting.ts'
import type { ConsumedBatch, ConsumedRecord } from '../../../bus/bus.ts'
import { CHAT_MESSAGES, MESSAGE_STATUS_EVENTS, TYPING_EVENTS } from '../../../bus/catalogue.ts'
import { decodeTyping, type PresenceChange, type Rosters, type TypingRecord } from '../../../chat/chat.ts'
import { type LiveMessage, presenceFrame, readMessage, readStatus, typingFrame } from './chat-events.ts'
import { SLICE_DELIVERIES } from './chat-limits.ts'
import type { ChatSeat } from './chat-seat.ts'
import { StatusesTold } from './statuses-told.ts'
import { TypingShown } from './typing.ts'

export interface ChatFanOutOptions {
  readonly rosters: Pick<Rosters, 'forget'>
  readonly typingExpiryMs: number
  /** The value of a record is none that anybody could be sent. */
  readonly onMalformed: () => void
  readonly clock: Clock
}

export class ChatFanOut {
  private readonly options: ChatFanOutOptions
  private readonly seats = new Map<string, Set<ChatSeat>>()
  private readonly typing: TypingShown
  private readonly statuses = new StatusesTold()
  /** Those with something to flush. */
  private touched = new Set<ChatSeat>()
  private deliveries = 0

  constructor(options: ChatFanOutOptions) {
    this.options = options
    this.typing = new TypingShown(options.typingExpiryMs)
  }

  /** Users who have a socket here. */
  get userIds(): string[] {
    return [...this.seats.keys()]
  }

  /** People who are shown as typing. */
  get typingCount(): number {
    return this.typing.size
  }

  seatsOf(userId: string): Iterable<ChatSeat> {
    return this.seats.get(userId) ?? []
  }

  add(seat: ChatSeat): void {
    const same = this.seats.get(seat.userId)
    if (same === undefined) this.seats.set(seat.userId, new Set([seat]))
    else same.add(seat)
  }

  remove(seat: ChatSeat): void {
    const same = this.seats.get(seat.userId)
    same?.delete(seat)
    if (same?.size === 0) this.seats.delete(seat.userId)
    this.touched.delete(seat)
  }

  /** Never rejects: a value nobody can use must not make the bus deliver it again. */
  async send({ topic, records }: ConsumedBatch): Promise<void> {
    this.deliveries = 0
    for (const record of records) {
      if (this.seats.size === 0) return
      if (topic === CHAT_MESSAGES) this.sendMessage(record)
      else if (topic === MESSAGE_STATUS_EVENTS) this.sendStatus(record)
      else if (topic === TYPING_EVENTS) this.sendTyping(record)
      if (this.deliveries < SLICE_DELIVERIES) continue
      this.flush()
      await nextTurn()
    }
    this.flush()
  }

  tellPresence(change: PresenceChange, audience: readonly string[]): void {
    const frame = presenceFrame(change)
    for (const userId of audience) this.tell(userId, frame)
    this.flush()
  }

  /** Those of whom nothing more was heard have stopped typing. */
  sweepTyping(): void {
    const expired = this.typing.expired(this.options.clock.monotonicMs())
    for (const { conversationId, userId, recipientIds } of expired) {
      const frame = typingFrame(conversationId, userId, false)
      for (const recipientId of recipientIds) this.tell(recipientId, frame)
    }
    this.flush()
  }

  private sendMessage(record: ConsumedRecord): void {
    const message = readMessage(record)
    if (message === null) {
      this.options.onMalformed()
      return
    }
    const { live, to } = message
    const { conversationId, senderId, notice, revision } = live
    if (notice !== null) this.options.rosters.forget(conversationId)
    const ended = live.isNew ? this.typing.end(senderId, conversationId) : null
    if (ended !== null) {
      const frame = typingFrame(conversationId, senderId, false)
      for (const userId of ended.recipientIds) this.tell(userId, frame)
    }
    for (const userId of to) this.offer(userId, live, live.frame)
    this.offer(senderId, live, live.ownFrame)
    if (notice?.action === 'left') this.leave(senderId, conversationId, revision)
    if (notice?.action === 'removed') {
      for (const userId of notice.userIds ?? []) this.leave(userId, conversationId, revision)
    }
  }

  private sendStatus(record: ConsumedRecord): void {
    const read = readStatus(record)
    if (read === null) {
      this.options.onMalformed()
      return
    }
    if (!this.statuses.take(read.status)) return
    for (const userId of read.status.recipientIds) this.tell(userId, read.frame)
  }

  private sendTyping(record: ConsumedRecord): void {
    const { clock, onMalformed } = this.options
    let typing: TypingRecord
    try {
      typing = decodeTyping(record.value)
    } catch {
      onMalformed()
      return
    }
    if (!this.typing.take(typing, clock.wallMs() - typing.timestamp, clock.monotonicMs())) return
    const { conversationId, userId, isTyping, recipientIds } = typing
    const frame = typingFrame(conversationId, userId, isTyping)
    for (const recipientId of recipientIds) this.tell(recipientId, frame)
  }

  private offer(userId: string, live: LiveMessage, frame: string): void {
    const seats = this.seats.get(userId)
    if (seats === undefined) return
    this.deliveries += seats.size
    for (const seat of seats) if (seat.offer(live, frame)) this.touched.add(seat)
  }

  private leave(userId: string, conversationId: string, revision: number): void {
    for (const seat of this.seatsOf(userId)) if (seat.leave(conversationId, revision)) this.touched.add(seat)
  }

  private tell(userId: string, frame: string): void {
    const seats = this.seats.get(userId)
    if (seats === undefined) return
    this.deliveries += seats.size
    for (const seat of seats) {
      if (!seat.hasBegun) continue
      seat.tell(frame)
      this.touched.add(seat)
    }
  }

  private flush(): void {
    if (this.touched.size === 0) return
    const nowMs = this.options.clock.monotonicMs()
    const touched = this.touched
    this.touched = new Set()
    for (const seat of touched) seat.flush(nowMs)
    this.deliveries = 0
  }
}
