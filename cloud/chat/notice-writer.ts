/** Stores plans of notices: the notifications themselves, how far members are notified, and who is to be told later. */

import type { Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { Notice, Notifier } from '../notifications/notifications.ts'
import type { Conversation, Subject } from './conversation.ts'
import {
  isMentioned,
  type NoticePlace,
  type NoticePlan,
  noticeContent,
  noticeKey,
  noticeTitle,
  type UntoldMessage,
} from './notice-plan.ts'
import { NoticeStore } from './notice-store.ts'
import { SubjectSight, type SubjectSources, subjectKey } from './subject-sight.ts'
import { Subjects } from './subjects.ts'

export interface NoticeWriterOptions {
  readonly database: DatabaseHandle
  readonly notifier: Notifier
  readonly subjects: SubjectSources
}

interface Telling {
  readonly message: UntoldMessage
  readonly mentioned: boolean
  readonly userIds: string[]
}

export class NoticeWriter {
  private readonly notifier: Notifier
  private readonly store: NoticeStore
  private readonly sight: SubjectSight
  private readonly subjects: Subjects

  constructor(options: NoticeWriterOptions) {
    this.notifier = options.notifier
    this.store = new NoticeStore(options.database)
    this.sight = new SubjectSight(options)
    this.subjects = new Subjects(options.subjects)
  }

  /** Of members who are locked. Resolves with how many notifications that makes. */
  async tell(
    plans: readonly NoticePlan[],
    conversations: ReadonlyMap<string, Conversation>,
    transaction: Transaction<Database>,
  ): Promise<number> {
    const telling = plans.filter(({ told }) => told.length > 0)
    if (telling.length === 0) return 0
    const byConversation = Map.groupBy(telling, ({ marks }) => marks.conversationId)
    const concerned = [...byConversation.keys()].flatMap((id) => conversations.get(id) ?? [])
    const places = await this.places(concerned, transaction)
    const notices: Notice[] = []
    for (const { id, subject } of concerned) {
      const own = byConversation.get(id) ?? []
      const userIds = own.map(({ marks }) => marks.userId)
      const seeing = await this.sight.visibleTo(subject, userIds, transaction)
      const seen = own.filter(({ marks }) => seeing.has(marks.userId))
      notices.push(...noticesOf(seen, places.get(id) as NoticePlace))
    }
    await this.notifier.notify(notices, transaction)
    const notified = telling.map(({ marks, notifiedPosition }) => ({ ...marks, position: notifiedPosition }))
    await this.store.setNotified(notified, transaction)
    return notices.reduce((sum, { recipients }) => sum + recipients.userIds.length, 0)
  }

  private async places(
    conversations: readonly Conversation[],
    transaction: Transaction<Database>,
  ): Promise<Map<string, NoticePlace>> {
    const subjects = conversations.flatMap(({ subject }) => subject ?? [])
    const views = subjects.length === 0 ? null : await this.subjects.of(subjects, transaction)
    const sights = subjects.length === 0 ? null : await this.sight.of(subjects, transaction)
    return new Map(
      conversations.map(({ id, kind, title, subject }): [string, NoticePlace] => {
        if (subject === null) return [id, { kind, title, subject, siteIds: null }]
        const key = subjectKey(subject)
        const siteIds = sitesOf(subject, sights?.get(key)?.siteIds ?? [])
        return [id, { kind, title: views?.get(key)?.title ?? title, subject, siteIds }]
      }),
    )
  }
}

/** A message for many is one notice, but for those whom it mentions. */
function noticesOf(plans: readonly NoticePlan[], place: NoticePlace): Notice[] {
  const tellings = new Map<string, Telling>()
  for (const { marks, told } of plans) {
    for (const message of told) {
      const mentioned = isMentioned(message, marks.userId)
      const name = `${message.position}/${mentioned}`
      const telling = tellings.get(name) ?? { message, mentioned, userIds: [] }
      tellings.set(name, telling)
      telling.userIds.push(marks.userId)
    }
  }
  return [...tellings.values()].map(({ message, mentioned, userIds }) => ({
    type: 'NEW_MESSAGE',
    severity: mentioned ? 'WARNING' : 'INFO',
    title: noticeTitle(message.senderId, place),
    content: noticeContent(message.content),
    relatedEntityId: message.conversationId,
    siteIds: place.siteIds,
    key: noticeKey(message),
    recipients: { userIds, subscribers: false },
    atMs: message.sentAtMs,
  }))
}

/** Of a task none: who asked for it may see it without its sites, and whether somebody may see it is known already. */
function sitesOf({ kind }: Subject, siteIds: readonly number[]): readonly number[] | null {
  return kind === 'task' || siteIds.length === 0 ? null : siteIds
}
