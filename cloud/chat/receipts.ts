/**
 * How far each member has come in a conversation: what was delivered to them, and what they have read. One mark each, that
 * only goes up; each time it does, those who wrote what it passed are told by a record that is stored with it.
 */

import type { Transaction } from 'kysely'
import type { Clock, Timer } from '../../shared/clock.ts'
import { ComplaintLimit } from '../../shared/complaint-limit.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { fullJitterMs } from '../../shared/retry.ts'
import { aborted } from '../../shared/waiting.ts'
import { MESSAGE_STATUS_EVENTS } from '../bus/catalogue.ts'
import type { Outbox, OutboxRecord } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { encodeStatus, type StatusRecord } from './chat-records.ts'
import { memberKey, type Subject } from './conversation.ts'
import { DeliveredQueue, isSound, type Mark } from './delivered-queue.ts'
import { chatInvalid, conversationUnknown } from './errors.ts'
import type { Membership } from './membership.ts'
import { type Advance, ReceiptStore, type StoredMarks } from './receipt-store.ts'
import { Turns } from './turns.ts'

export type { Mark } from './delivered-queue.ts'

/** Where a member's marks are. */
export type MemberMarks = Pick<StoredMarks, 'conversationId' | 'userId' | 'readPosition' | 'deliveredPosition'>

export interface ReceiptsOptions {
  readonly database: DatabaseHandle
  readonly outbox: Pick<Outbox, 'append' | 'nudge'>
  readonly membership: Pick<Membership, 'requireMember' | 'visibleTo'>
  readonly settings: {
    /** In larger conversations senders are not told. */
    readonly receiptsMembersMax: number
  }
  /** Members' marks that wait to be stored at most. Default 100,000. */
  readonly waitingMax?: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** Totals since the start. */
export interface ReceiptStats {
  /** Marks that went up. */
  readonly delivered: number
  readonly read: number
  /** Records for `message-status-events`. */
  readonly records: number
  /** Marks of what was delivered that wait to be stored. */
  readonly waiting: number
  /** Those that were let go, since too many waited for a database that is away; who resumes says them again. */
  readonly letGo: number
}

/** How long marks wait for company, milliseconds; and after a write of so many, which then become one for several messages. */
const GATHER_MS = 100
const CROWDED_GATHER_MS = 500
const CROWD = 100
/** Marks of one transaction; so many do not wait. */
const MARKS_PER_WRITE = 1_000
const WAITING_MAX = 100_000
const BACKOFF = { baseMs: 200, capMs: 10_000 }

export class Receipts implements Part {
  readonly name = 'chat receipts'
  private readonly options: ReceiptsOptions
  private readonly store: ReceiptStore
  private readonly queue: DeliveredQueue
  private readonly turns = new Turns()
  private readonly counts = { delivered: 0, read: 0, records: 0 }
  private readonly complaints: ComplaintLimit
  /** Of those who wait for the next write. */
  private round: PromiseWithResolvers<void> | null = null
  private timer: Timer | null = null
  private writing: Promise<void> | null = null
  private failures = 0
  private isCrowded = false
  private stopped = false

  constructor(options: ReceiptsOptions) {
    this.options = options
    this.store = new ReceiptStore(options.database)
    this.queue = new DeliveredQueue(options.waitingMax ?? WAITING_MAX)
    this.complaints = new ComplaintLimit(options.clock)
  }

  /** It begins with the first mark. */
  async start(): Promise<void> {}

  /** Stores what waits; what the database does not take is let go. */
  async stop(deadline: AbortSignal): Promise<void> {
    this.stopped = true
    this.timer?.cancel()
    this.timer = null
    await Promise.race([this.writeRest(), aborted(deadline)])
  }

  /**
   * Gathers them for a moment. Resolves when they are stored, or when that failed for now and they wait to be tried again; never
   * rejects. Who is no member is left out.
   */
  async delivered(marks: readonly Mark[]): Promise<void> {
    const sound = marks.filter(isSound)
    if (sound.length === 0 || this.stopped) return
    this.queue.add(sound)
    this.round ??= Promise.withResolvers()
    const { promise } = this.round
    this.schedule()
    await promise
  }

  /**
   * The member has read everything up to `position`; a lower one than before changes nothing. Resolves with the marks once
   * they are stored, with `also` in the same transaction, which may run again.
   * @throws ChatError CONVERSATION_UNKNOWN, INVALID_INPUT; BusbarError DATABASE_UNAVAILABLE, CHAT_BUSY
   */
  async read(
    userId: string,
    conversationId: string,
    position: number,
    also?: (marks: MemberMarks, transaction: Transaction<Database>) => Promise<void>,
  ): Promise<MemberMarks> {
    if (!Number.isSafeInteger(position) || position < 0) {
      throw chatInvalid([{ pointer: '/position', value: position, remedy: 'a position, a whole number from 0' }])
    }
    const { database, membership, outbox } = this.options
    const reading = () =>
      database.transaction(async (transaction) => {
        const { conversation } = await membership.requireMember(userId, conversationId, transaction)
        const [stored] = await this.store.lock([{ userId, conversationId, position }], transaction)
        if (stored === undefined) throw conversationUnknown(conversationId)
        const to = Math.min(position, stored.lastRevision)
        const isMoved = to > stored.readPosition
        const records = isMoved ? await this.raiseRead(stored, to, conversation.subject, transaction) : 0
        const marks: MemberMarks = {
          conversationId,
          userId,
          readPosition: Math.max(to, stored.readPosition),
          deliveredPosition: Math.max(to, stored.deliveredPosition),
        }
        await also?.(marks, transaction)
        return { marks, records, isMoved }
      })
    const { marks, records, isMoved } = await this.turns.take(userId, reading)
    outbox.nudge()
    this.counts.read += isMoved ? 1 : 0
    this.counts.records += records
    return marks
  }

  stats(): ReceiptStats {
    return { ...this.counts, waiting: this.queue.size, letGo: this.queue.letGo }
  }

  private schedule(): void {
    if (this.writing !== null || this.stopped || this.queue.size === 0) return
    const isFull = this.queue.size >= MARKS_PER_WRITE && this.failures === 0
    if (this.timer !== null && !isFull) return
    this.timer?.cancel()
    this.timer = null
    if (isFull) this.write()
    else this.timer = this.options.clock.after(this.delayMs(), () => this.write())
  }

  private delayMs(): number {
    if (this.failures === 0) return this.isCrowded ? CROWDED_GATHER_MS : GATHER_MS
    return GATHER_MS + Math.ceil(fullJitterMs(this.failures - 1, BACKOFF, this.options.random))
  }

  private write(): void {
    this.timer = null
    this.writing = this.writeWaiting().finally(() => {
      this.writing = null
      this.schedule()
    })
  }

  private async writeRest(): Promise<void> {
    await this.writing
    while (this.queue.size > 0) {
      await this.writeWaiting()
      if (this.failures > 0) break
    }
    this.round?.resolve()
  }

  /** What waits now; never rejects. */
  private async writeWaiting(): Promise<void> {
    const { round, queue } = this
    this.round = null
    this.isCrowded = queue.size >= CROWD
    for (let left = queue.size; left > 0; left -= MARKS_PER_WRITE) {
      const marks = queue.take(Math.min(left, MARKS_PER_WRITE))
      try {
        await this.writeDelivered(marks)
        this.failures = 0
      } catch (error) {
        queue.add(marks)
        this.failures++
        const { log } = this.options
        if (this.complaints.isDue()) log.warn({ error: messageOf(error) }, 'what was delivered could not be stored yet')
        break
      }
    }
    round?.resolve()
  }

  private async writeDelivered(marks: readonly Mark[]): Promise<void> {
    const { database, clock, outbox } = this.options
    const positions = new Map(marks.map((mark) => [memberKey(mark), mark.position]))
    const written = await database.transaction(async (transaction) => {
      const stored = await this.store.lock(marks, transaction)
      const subjects = new Map(stored.map(({ conversationId, subject }) => [conversationId, subject]))
      const advances = stored.flatMap(({ conversationId, userId, deliveredPosition, lastRevision }): Advance[] => {
        const position = Math.min(positions.get(memberKey({ conversationId, userId })) ?? 0, lastRevision)
        return position > deliveredPosition ? [{ conversationId, userId, position, from: deliveredPosition }] : []
      })
      if (advances.length === 0) return { delivered: 0, records: 0 }
      await this.store.raiseDelivered(advances, clock.wallMs(), transaction)
      const large = await this.large(advances, transaction)
      const told = advances.filter(({ conversationId }) => !large.has(conversationId))
      const records = await this.tell('DELIVERED', told, subjects, transaction)
      return { delivered: advances.length, records }
    })
    if (written.records > 0) outbox.nudge()
    this.counts.delivered += written.delivered
    this.counts.records += written.records
  }

  /** Resolves with how many records that makes. */
  private async raiseRead(
    { conversationId, userId, readPosition }: StoredMarks,
    position: number,
    subject: Subject | null,
    transaction: Transaction<Database>,
  ): Promise<number> {
    const advance: Advance = { conversationId, userId, position, from: readPosition }
    await this.store.raiseRead(advance, this.options.clock.wallMs(), transaction)
    // In a large one the reader's own devices are told, and nobody else.
    const large = await this.large([advance], transaction)
    const told = large.has(conversationId) ? { ...advance, from: position } : advance
    return await this.tell('READ', [told], new Map([[conversationId, subject]]), transaction)
  }

  private large(advances: readonly Advance[], transaction: Transaction<Database>): Promise<Set<string>> {
    const ids = advances.map(({ conversationId }) => conversationId)
    return this.store.largerThan(this.options.settings.receiptsMembersMax, ids, transaction)
  }

  private async tell(
    status: 'DELIVERED' | 'READ',
    advances: readonly Advance[],
    subjects: ReadonlyMap<string, Subject | null>,
    transaction: Transaction<Database>,
  ): Promise<number> {
    const { clock, outbox } = this.options
    const timestamp = new Date(clock.wallMs()).toISOString()
    const passed = await this.store.passed(advances, transaction)
    const seeing = await this.seeing(advances, passed, subjects, transaction)
    const records = advances.flatMap(({ conversationId, userId, position }, i): OutboxRecord[] => {
      const { messageId, senderIds } = passed[i] as (typeof passed)[number]
      const others = senderIds.filter((id) => id !== userId && seeing.get(conversationId)?.has(id) !== false)
      // What has come to a device says nothing to the user's other ones.
      if (messageId === null || (status === 'DELIVERED' && others.length === 0)) return []
      const recipientIds = [...others, userId]
      const value: StatusRecord = { messageId, conversationId, status, userId, timestamp, position, recipientIds }
      return [{ topic: MESSAGE_STATUS_EVENTS, key: userId, ...encodeStatus(value) }]
    })
    await outbox.append(records, transaction)
    return records.length
  }

  /** By conversation that is about something, those of its senders who may see that. */
  private async seeing(
    advances: readonly Advance[],
    passed: readonly { readonly senderIds: readonly string[] }[],
    subjects: ReadonlyMap<string, Subject | null>,
    transaction: Transaction<Database>,
  ): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
    const senders = new Map<string, Set<string>>()
    for (const [i, { conversationId }] of advances.entries()) {
      const known = senders.get(conversationId) ?? new Set()
      senders.set(conversationId, known)
      for (const id of passed[i]?.senderIds ?? []) known.add(id)
    }
    const seeing = new Map<string, ReadonlySet<string>>()
    for (const [conversationId, ids] of senders) {
      const subject = subjects.get(conversationId) ?? null
      if (subject === null || ids.size === 0) continue
      seeing.set(conversationId, await this.options.membership.visibleTo(subject, [...ids], transaction))
    }
    return seeing
  }
}
