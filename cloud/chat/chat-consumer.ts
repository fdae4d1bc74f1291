/**
 * Consumes `chat-messages` and `message-status-events` for those who are not there: whoever has no socket is notified of a
 * message, whoever seems to have one is looked after (chat-notices.ts), and what somebody has read is read in their inbox too.
 * All of a batch is stored in one transaction, and the offsets are committed after it; a batch that comes again changes
 * nothing, since what was told is known by the marks of the members.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { Bus, ConsumedRecord } from '../bus/bus.ts'
import { CHAT_MESSAGES, COMMUNICATION_GROUP, MESSAGE_STATUS_EVENTS } from '../bus/catalogue.ts'
import type { Parking } from '../bus/parking.ts'
import { type ConsumedItem, RecordConsumer, type RecordConsumerStats, type Unusable } from '../bus/record-consumer.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { KEY_CALLER } from '../identity/identity.ts'
import { type Notifications, type Notifier, USER_ID_PATTERN } from '../notifications/notifications.ts'
import { decodeMessage, decodeStatus, type MessageRecord, type StatusRecord } from './chat-records.ts'
import { CONVERSATION_ID_PATTERN, memberKey } from './conversation.ts'
import { type NoticeMarks, type NoticePlan, planFor, type UntoldMessage } from './notice-plan.ts'
import { NoticeStore, type Pair } from './notice-store.ts'
import { NoticeWriter } from './notice-writer.ts'
import type { Presence } from './presence.ts'
import type { SubjectSources } from './subject-sight.ts'

export interface ChatConsumerOptions {
  readonly bus: Pick<Bus, 'subscribe' | 'publish'>
  readonly database: DatabaseHandle
  readonly notifier: Notifier
  readonly inbox: Pick<Notifications['inbox'], 'markReadAbout'>
  readonly presence: Pick<Presence, 'isOnline'>
  readonly subjects: SubjectSources
  readonly settings: { readonly noticeAfterMs: number }
  readonly parking: Parking
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** Totals since the start. */
export interface ChatConsumerStats {
  /** Notifications of messages, one for each user. */
  readonly notified: number
  /** Messages, one for each user, that a notification of before stands for. */
  readonly collapsed: number
  /** Members who seemed to be there, and are told unless the message comes to them. */
  readonly awaited: number
  /** Notifications that were read with what they tell of. */
  readonly inboxRead: number
  readonly consumer: RecordConsumerStats
}

type ChatRecord =
  | { readonly kind: 'message'; readonly record: MessageRecord }
  | { readonly kind: 'status'; readonly record: StatusRecord }

/** Nobody waits for it, and most of what has just come is delivered by then. */
const GATHER_MS = 250
/** Who is told of something so late from now is left alone by whoever tells. */
const DUE_SETTLED_MS = 2_000

export class ChatConsumer implements Part {
  readonly name = 'chat notices of messages'
  private readonly options: ChatConsumerOptions
  private readonly store: NoticeStore
  private readonly writer: NoticeWriter
  private readonly consumer: RecordConsumer<ChatRecord>
  private readonly counts = { notified: 0, collapsed: 0, awaited: 0, inboxRead: 0 }

  constructor(options: ChatConsumerOptions) {
    const { bus, database, parking, clock, random, log } = options
    this.options = options
    this.store = new NoticeStore(database)
    this.writer = new NoticeWriter(options)
    this.consumer = new RecordConsumer<ChatRecord>({
      name: this.name,
      bus,
      group: COMMUNICATION_GROUP,
      topics: [CHAT_MESSAGES, MESSAGE_STATUS_EVENTS],
      decode: decodeRecord,
      handle: (items) => this.handle(items),
      gatherMs: GATHER_MS,
      parking,
      clock,
      random,
      log,
    })
  }

  /** @throws BusbarError TOPIC_MISSING */
  async start(): Promise<void> {
    await this.consumer.start()
  }

  /** Finishes the batch in hand and leaves the group. */
  async stop(): Promise<void> {
    await this.consumer.stop()
  }

  stats(): ChatConsumerStats {
    return { ...this.counts, consumer: this.consumer.stats() }
  }

  /** Resolves when every effect is durable. */
  private async handle(items: readonly ConsumedItem<ChatRecord>[]): Promise<void> {
    const conversationIds = [...new Set(items.map(({ value }) => value.record.conversationId))]
    const conversations = await this.store.conversations(conversationIds, this.options.database.kysely)
    const unknown = conversationIds.find((id) => !conversations.has(id))
    if (unknown !== undefined) {
      throw new BusbarError(`there is no conversation ${unknown}`, {
        code: 'CONVERSATION_UNKNOWN',
        hint: 'the record was not made from this database; it may be of before a restore',
      })
    }
    const reads = readsOf(items)
    const mail = await this.mailOf(items)
    const { toLock, online, collapsed } = await this.concerned(mail)
    if (toLock.length === 0 && reads.length === 0) {
      this.counts.collapsed += collapsed
      return
    }
    const { database, notifier } = this.options
    const done = await database.transaction(async (transaction) => {
      const marks = await this.store.lock(distinct([...toLock, ...reads]), transaction)
      const lockedKeys = new Set(toLock.map(memberKey))
      // Once more: some of it may have come to them meanwhile.
      const plans = marks
        .filter((each) => lockedKeys.has(memberKey(each)))
        .map((each) => planFor(each, mail.get(memberKey(each))?.messages ?? [], online.has(each.userId)))
      const notified = await this.writer.tell(plans, conversations, transaction)
      const awaited = await this.lookAfter(plans, transaction)
      const isRead = new Set(reads.map(memberKey))
      let inboxRead = 0
      for (const { conversationId, userId, readPosition, notifiedPosition } of marks) {
        // What they were told of and have not read yet stays.
        if (!isRead.has(memberKey({ conversationId, userId })) || readPosition < notifiedPosition) continue
        inboxRead += await this.options.inbox.markReadAbout(userId, conversationId, 'NEW_MESSAGE', transaction)
      }
      return { notified, awaited, inboxRead, collapsed: plans.reduce((sum, plan) => sum + plan.collapsed, 0) }
    })
    if (done.notified > 0) notifier.nudge()
    this.counts.notified += done.notified
    this.counts.awaited += done.awaited
    this.counts.inboxRead += done.inboxRead
    this.counts.collapsed += collapsed + done.collapsed
  }

  /** By member, what was sent to them; without what was deleted since. */
  private async mailOf(items: readonly ConsumedItem<ChatRecord>[]): Promise<Map<string, Mail>> {
    const records = items.flatMap(({ value }) =>
      value.kind === 'message' && isNew(value.record) ? [value.record] : [],
    )
    if (records.length === 0) return new Map()
    const deleted = await this.store.deleted(records.map(({ messageId }) => messageId))
    const mail = new Map<string, Mail>()
    for (const record of records) {
      if (deleted.has(record.messageId)) continue
      const message: UntoldMessage = { ...record, mentions: record.mentions ?? [], sentAtMs: Date.parse(record.sentAt) }
      for (const userId of new Set(record.recipientIds.filter(isPerson))) {
        if (userId === record.senderId) continue
        const pair = { conversationId: record.conversationId, userId }
        const own = mail.get(memberKey(pair)) ?? { pair, messages: [] }
        mail.set(memberKey(pair), own)
        own.messages.push(message)
      }
    }
    for (const { messages } of mail.values()) messages.sort((a, b) => a.position - b.position)
    return mail
  }

  /** Most of it needs nothing: it has come, or they know that something is there. Locks nobody. */
  private async concerned(mail: ReadonlyMap<string, Mail>): Promise<{
    readonly toLock: readonly Pair[]
    readonly online: ReadonlySet<string>
    readonly collapsed: number
  }> {
    const { presence, clock } = this.options
    const wanted = [...mail.values()].map(({ pair, messages }) => ({
      ...pair,
      position: messages.at(-1)?.position ?? 0,
    }))
    const lacking = await this.store.lacking(wanted)
    if (lacking.length === 0) return { toLock: [], online: new Set(), collapsed: 0 }
    const online = await presence.isOnline([...new Set(lacking.map(({ userId }) => userId))])
    const settledMs = clock.wallMs() + DUE_SETTLED_MS
    const toLock: NoticeMarks[] = []
    let collapsed = 0
    for (const { dueAtMs, ...marks } of lacking) {
      const plan = planFor(marks, mail.get(memberKey(marks))?.messages ?? [], online.has(marks.userId))
      const isAwaited = plan.awaited !== null && (dueAtMs === null || dueAtMs <= settledMs)
      if (plan.told.length > 0 || isAwaited) toLock.push(marks)
      else collapsed += plan.collapsed
    }
    return { toLock, online, collapsed }
  }

  private async lookAfter(plans: readonly NoticePlan[], transaction: Transaction<Database>): Promise<number> {
    const { clock, settings } = this.options
    const dueAtMs = clock.wallMs() + settings.noticeAfterMs
    const due = plans.flatMap(({ marks, awaited }) => {
      return awaited === null ? [] : [{ ...marks, position: awaited.position, dueAtMs }]
    })
    await this.store.addDue(due, transaction)
    return due.length
  }
}

interface Mail {
  readonly pair: Pair
  /** Ascending by position. */
  readonly messages: UntoldMessage[]
}

function decodeRecord({ topic, value }: ConsumedRecord): ChatRecord | Unusable {
  try {
    const decoded: ChatRecord =
      topic === CHAT_MESSAGES
        ? { kind: 'message', record: decodeMessage(value) }
        : { kind: 'status', record: decodeStatus(value) }
    const { conversationId } = decoded.record
    if (!CONVERSATION_ID_PATTERN.test(conversationId)) throw new TypeError('conversationId names no conversation')
    const at = decoded.kind === 'message' ? decoded.record.sentAt : decoded.record.timestamp
    if (Number.isNaN(Date.parse(at))) throw new TypeError('the time is none')
    return decoded
  } catch (error) {
    return { unusable: error instanceof SyntaxError ? 'NOT_JSON' : 'VALUE_INVALID', message: messageOf(error) }
  }
}

/** Who was told of it need not be told that it was changed. */
function isNew({ kind, position, revision }: MessageRecord): boolean {
  return kind === 'MESSAGE' && revision === position
}

function isPerson(userId: string): boolean {
  return USER_ID_PATTERN.test(userId) && !userId.startsWith(KEY_CALLER)
}

function readsOf(items: readonly ConsumedItem<ChatRecord>[]): Pair[] {
  const records = items.flatMap(({ value }) => (value.kind === 'status' ? [value.record] : []))
  return distinct(records.filter(({ status, userId }) => status === 'READ' && isPerson(userId)))
}

function distinct(pairs: readonly Pair[]): Pair[] {
  return [...new Map(pairs.map((pair) => [memberKey(pair), pair])).values()]
}
