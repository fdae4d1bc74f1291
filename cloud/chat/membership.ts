/** Who is in a conversation, which is who was let in and may see what it is about. */

import type { Kysely } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { sitesSeen } from '../identity/identity.ts'
import type { Conversation, Member, Subject } from './conversation.ts'
import { CONVERSATION_ID_PATTERN } from './conversation.ts'
import { ConversationStore } from './conversation-store.ts'
import { conversationUnknown } from './errors.ts'
import { isSeen, SubjectSight, type SubjectSources, subjectKey } from './subject-sight.ts'

export class Membership {
  private readonly database: DatabaseHandle
  private readonly store: ConversationStore
  private readonly sight: SubjectSight

  constructor(options: { readonly database: DatabaseHandle; readonly subjects: SubjectSources }) {
    this.database = options.database
    this.store = new ConversationStore(options.database)
    this.sight = new SubjectSight(options)
  }

  /** @throws ChatError CONVERSATION_UNKNOWN for who is not in it, and for who may not see what it is about any more. */
  async requireMember(
    userId: string,
    conversationId: string,
    kysely: Kysely<Database>,
  ): Promise<{ readonly conversation: Conversation; readonly member: Member }> {
    if (!CONVERSATION_ID_PATTERN.test(conversationId)) throw conversationUnknown(conversationId)
    const member = await this.store.member(conversationId, userId, kysely)
    if (member === null || member.leftAtMs !== null) throw conversationUnknown(conversationId)
    const conversation = await this.store.get(conversationId, kysely)
    if (conversation === null) throw conversationUnknown(conversationId)
    const seeing = await this.visibleTo(conversation.subject, [userId], kysely)
    if (!seeing.has(userId)) throw conversationUnknown(conversationId)
    return { conversation, member }
  }

  /** Those of the users who may see it; everybody where it is null. */
  visibleTo(
    subject: Subject | null,
    userIds: readonly string[],
    kysely: Kysely<Database>,
  ): Promise<ReadonlySet<string>> {
    return this.sight.visibleTo(subject, userIds, kysely)
  }

  /** By id of the conversation, those of its users who may see it: a few queries for all of them. */
  async visibleIn(
    conversations: readonly {
      readonly id: string
      readonly subject: Subject | null
      readonly userIds: readonly string[]
    }[],
    kysely: Kysely<Database>,
  ): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
    const subjects = conversations.flatMap(({ subject }) => subject ?? [])
    if (subjects.length === 0) return new Map(conversations.map(({ id, userIds }) => [id, new Set(userIds)]))
    const asked = new Set(conversations.flatMap(({ subject, userIds }) => (subject === null ? [] : userIds)))
    const seen = await sitesSeen([...asked], kysely, this.database.dialect)
    const sights = await this.sight.of(subjects, kysely)
    return new Map(
      conversations.map(({ id, subject, userIds }) => {
        if (subject === null) return [id, new Set(userIds)]
        const sight = sights.get(subjectKey(subject)) ?? null
        return [id, new Set(userIds.filter((userId) => isSeen(sight, userId, seen.get(userId) ?? 'all')))]
      }),
    )
  }

  /** Those of the conversations whose subject the user may see; the others are as if the user were not in them. */
  async seenBy<C extends { readonly subject: Subject | null }>(
    userId: string,
    conversations: readonly C[],
    kysely: Kysely<Database>,
  ): Promise<C[]> {
    const subjects = conversations.flatMap(({ subject }) => subject ?? [])
    if (subjects.length === 0) return [...conversations]
    const sees = (await sitesSeen([userId], kysely, this.database.dialect)).get(userId) ?? 'all'
    if (sees === 'all') return [...conversations]
    const sights = await this.sight.of(subjects, kysely)
    return conversations.filter(
      ({ subject }) => subject === null || isSeen(sights.get(subjectKey(subject)) ?? null, userId, sees),
    )
  }
}
