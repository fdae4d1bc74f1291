/**
 * Reads for sockets what they missed: a bounded number of questions to the database at once, one page each, whoever waits
 * longest next. A socket that takes no more is left alone until it does.
 */

import type { Clock } from '../../../../shared/clock.ts'
import { ComplaintLimit } from '../../../../shared/complaint-limit.ts'
import { messageOf } from '../../../../shared/errors.ts'
import type { Logger } from '../../../../shared/log.ts'
import { ChatError, type Messages, type Since } from '../../../chat/chat.ts'
import type { ChatCursor, Reading } from './chat-cursor.ts'
import { type LiveMessage, shownMessage } from './chat-events.ts'
import { READ_PAGE, READ_PAGE_MIN, READS_MAX } from './chat-limits.ts'
import type { ChatSeat } from './chat-seat.ts'

export interface CatchUpsOptions {
  readonly messages: Pick<Messages, 'since'>
  /** What a socket waited for has moved on, or it is in the conversation no more. */
  readonly onMoved: (seat: ChatSeat, conversationId: string) => void
  readonly clock: Clock
  readonly log: Logger
}

interface Wanting {
  readonly seat: ChatSeat
  readonly conversationId: string
}

export class CatchUps {
  private readonly options: CatchUpsOptions
  /** The one that waits longest is first. */
  private readonly waiting = new Set<Wanting>()
  private reading = 0
  private readonly counts = { pages: 0, messages: 0, finished: 0, failed: 0 }
  private readonly complaints: ComplaintLimit
  private stopped = false

  constructor(options: CatchUpsOptions) {
    this.options = options
    this.complaints = new ComplaintLimit(options.clock)
  }

  stop(): void {
    this.stopped = true
    this.waiting.clear()
  }

  stats(): {
    readonly waiting: number
    readonly pages: number
    readonly messages: number
    readonly finished: number
    readonly failed: number
  } {
    return { waiting: this.waiting.size + this.reading, ...this.counts }
  }

  /** Something is to be read for the socket. Cheap to say again. */
  want(seat: ChatSeat, conversationId: string): void {
    if (this.stopped || seat.wanted.has(conversationId)) return
    seat.wanted.add(conversationId)
    this.waiting.add({ seat, conversationId })
    this.advance()
  }

  /** What the socket could not take, or what could not be read, it may get now. */
  retry(seat: ChatSeat): void {
    if (seat.stalled.size === 0 || !seat.client.hasRoom(1)) return
    const stalled = [...seat.stalled]
    seat.stalled.clear()
    for (const conversationId of stalled) this.want(seat, conversationId)
  }

  private advance(): void {
    for (const wanting of this.waiting) {
      if (this.reading >= READS_MAX || this.stopped) return
      this.waiting.delete(wanting)
      const { seat, conversationId } = wanting
      const cursor = seat.isOpen ? seat.cursorOf(conversationId) : null
      const reading = cursor?.wants ?? null
      if (cursor === null || reading === null || !seat.client.hasRoom(1)) {
        seat.wanted.delete(conversationId)
        if (reading !== null) seat.stalled.add(conversationId)
        continue
      }
      this.reading++
      void this.read(wanting, cursor, reading).finally(() => {
        this.reading--
        seat.wanted.delete(conversationId)
        if (seat.isOpen && cursor.wants !== null && !seat.stalled.has(conversationId)) this.want(seat, conversationId)
        this.advance()
      })
    }
  }

  /** Never rejects. */
  private async read(
    { seat, conversationId }: Wanting,
    cursor: ChatCursor<LiveMessage>,
    reading: Reading,
  ): Promise<void> {
    let page: Since
    try {
      const upTo = reading.upTo ?? undefined
      page = await this.options.messages.since(seat.userId, conversationId, reading.after, { upTo, limit: seat.page })
    } catch (error) {
      if (seat.isOpen && seat.cursorOf(conversationId) === cursor) this.failed(seat, conversationId, cursor, error)
      return
    }
    this.counts.pages++
    // What was asked for may have changed meanwhile, and is asked for again then.
    if (!seat.isOpen || seat.cursorOf(conversationId) !== cursor || cursor.wants !== reading) return
    this.send(seat, conversationId, cursor, page, reading.from)
  }

  private send(
    seat: ChatSeat,
    conversationId: string,
    cursor: ChatCursor<LiveMessage>,
    page: Since,
    from: number,
  ): void {
    const nowMs = this.options.clock.monotonicMs()
    const messages = page.messages.map((shown) => shownMessage(shown, from))
    const count = seat.sendRead(messages, nowMs)
    this.counts.messages += count
    const last = messages[count - 1]
    if (last !== undefined) cursor.sent(last.revision)
    if (count < messages.length) {
      // It takes so much at once, and reading more would be for nothing.
      seat.page = Math.max(READ_PAGE_MIN, 2 * count)
      // Unless the network has taken all of it already: nothing would say so later.
      if (!seat.client.hasRoom(messages[count]?.frame.length ?? 1)) seat.stalled.add(conversationId)
      return
    }
    seat.page = Math.min(READ_PAGE, 2 * seat.page)
    // A page that is not the last one brings something, or its reader would ask for it for ever.
    if (page.more && last !== undefined) return
    seat.putWaiting(cursor.finish(page.upTo))
    seat.flush(nowMs)
    this.counts.finished++
    this.options.onMoved(seat, conversationId)
  }

  private failed(seat: ChatSeat, conversationId: string, cursor: ChatCursor<LiveMessage>, error: unknown): void {
    const { clock, log, onMoved } = this.options
    if (error instanceof ChatError && error.refusal === 'NOT_FOUND') {
      seat.forget(conversationId, cursor.mark)
      seat.flush(clock.monotonicMs())
      onMoved(seat, conversationId)
      return
    }
    this.counts.failed++
    if (this.complaints.isDue())
      log.warn({ error: messageOf(error) }, 'what sockets missed cannot be read; trying again')
    // Until its socket is looked at again.
    seat.stalled.add(conversationId)
  }
}
