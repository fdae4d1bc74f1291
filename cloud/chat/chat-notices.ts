/**
 * Tells those who seemed to be there when a message came to them, and to whom it has not come after all: a device without a
 * network keeps its socket for a while. One core does it for all.
 */

import type { Clock } from '../../shared/clock.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import type { Notifier } from '../notifications/notifications.ts'
import { memberKey } from './conversation.ts'
import { type NoticePlan, planFor } from './notice-plan.ts'
import { type NoticeDue, NoticeStore, type Pair } from './notice-store.ts'
import { NoticeWriter } from './notice-writer.ts'
import type { SubjectSources } from './subject-sight.ts'

export interface ChatNoticesOptions {
  readonly database: DatabaseHandle
  readonly notifier: Notifier
  readonly subjects: SubjectSources
  /** How long a message may take to who is there, milliseconds. */
  readonly settings: { readonly noticeAfterMs: number }
  /** Of this process and no other, also not of an earlier one. */
  readonly coreId: string
  readonly clock: Clock
  readonly log: Logger
}

/** Totals since the start. */
export interface ChatNoticesStats {
  /** Notifications of messages that had not come, one for each user. */
  readonly notified: number
  /** Members to whom it had come by then. */
  readonly arrived: number
}

const PERIOD_MAX_MS = 5_000
const PERIOD_MIN_MS = 500
/** Looks in the time that a message may take. */
const LOOKS = 3
/** Members of one transaction. */
const MEMBERS_PER_STEP = 200
/** Messages of one member in one transaction. */
const MESSAGES_PER_MEMBER = 100

export class ChatNotices implements Part {
  readonly name = 'chat notices'
  private readonly options: ChatNoticesOptions
  private readonly store: NoticeStore
  private readonly writer: NoticeWriter
  private readonly duty: Duty
  private readonly counts = { notified: 0, arrived: 0 }

  constructor(options: ChatNoticesOptions) {
    const { database, settings, coreId, clock, log } = options
    this.options = options
    this.store = new NoticeStore(database)
    this.writer = new NoticeWriter(options)
    this.duty = new Duty({
      name: this.name,
      database,
      coreId,
      periodMs: Math.min(PERIOD_MAX_MS, Math.max(PERIOD_MIN_MS, Math.ceil(settings.noticeAfterMs / LOOKS))),
      work: (signal) => this.tellAll(signal),
      clock,
      log,
    })
  }

  async start(): Promise<void> {
    await this.duty.start()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    await this.duty.stop(deadline)
  }

  stats(): ChatNoticesStats {
    return { ...this.counts }
  }

  private async tellAll(signal: AbortSignal): Promise<void> {
    for (let found = MEMBERS_PER_STEP; found === MEMBERS_PER_STEP && !signal.aborted; await nextTurn()) {
      const due = await this.store.due(this.options.clock.wallMs(), MEMBERS_PER_STEP)
      if (due.length > 0) await this.tell(due)
      found = due.length
    }
  }

  private async tell(pairs: readonly Pair[]): Promise<void> {
    const { database, clock, notifier, settings } = this.options
    const nowMs = clock.wallMs()
    const sentByMs = nowMs - settings.noticeAfterMs
    const done = await database.transaction(async (transaction) => {
      const locked = new Map((await this.store.lock(pairs, transaction)).map((marks) => [memberKey(marks), marks]))
      const plans: NoticePlan[] = []
      const settled: Pair[] = []
      const moved: NoticeDue[] = []
      for (const due of await this.store.dueOf(pairs, transaction)) {
        const marks = locked.get(memberKey(due))
        // Moved meanwhile by another core.
        if (due.dueAtMs > nowMs) continue
        const lacking =
          marks === undefined ? [] : await this.store.undelivered(marks, due.position, MESSAGES_PER_MEMBER, transaction)
        const late = lacking.filter(({ sentAtMs, position }) => sentAtMs <= sentByMs || position === due.position)
        if (marks !== undefined && late.length > 0) plans.push(planFor(marks, late, false))
        const next = lacking.find((message) => !late.includes(message)) ?? nextAfter(lacking)
        if (next === null) settled.push(due)
        else moved.push({ ...due, position: next.position, dueAtMs: next.sentAtMs + settings.noticeAfterMs })
      }
      await this.store.removeDue(settled, transaction)
      await this.store.moveDue(moved, transaction)
      const conversationIds = [...new Set(plans.map(({ marks }) => marks.conversationId))]
      const conversations = await this.store.conversations(conversationIds, transaction)
      const notified = await this.writer.tell(plans, conversations, transaction)
      return { notified, arrived: settled.length + moved.length - plans.length }
    })
    if (done.notified > 0) notifier.nudge()
    this.counts.notified += done.notified
    this.counts.arrived += done.arrived
  }
}

/** Where to go on when there may be more than was looked at. */
function nextAfter(
  messages: readonly { readonly position: number; readonly sentAtMs: number }[],
): { readonly position: number; readonly sentAtMs: number } | null {
  const last = messages.at(-1)
  if (last === undefined || messages.length < MESSAGES_PER_MEMBER) return null
  return { position: last.position + 1, sentAtMs: last.sentAtMs }
}
