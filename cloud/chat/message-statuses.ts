/** How far messages have come: the marks of those to whom they are, one query for a page. */

import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import type { Conversation } from './conversation.ts'
import { ConversationStore } from './conversation-store.ts'
import type { Membership } from './membership.ts'
import { type Message, statusOf } from './message.ts'
import type { ShownMessage } from './message-options.ts'

interface Marks {
  readonly readPosition: number
  readonly deliveredPosition: number
}

export class MessageStatuses {
  private readonly database: DatabaseHandle
  private readonly membership: Pick<Membership, 'visibleIn'>
  private readonly store: ConversationStore

  constructor(options: { readonly database: DatabaseHandle; readonly membership: Pick<Membership, 'visibleIn'> }) {
    this.database = options.database
    this.membership = options.membership
    this.store = new ConversationStore(options.database)
  }

  /** As the user is shown them, who is told of their own ones how far they have come. */
  async shown(
    userId: string,
    messages: readonly Message[],
    conversations: readonly Pick<Conversation, 'id' | 'subject'>[],
    kysely: Kysely<Database>,
  ): Promise<ShownMessage[]> {
    const isOwn = ({ kind, senderId }: Message): boolean => kind === 'MESSAGE' && senderId === userId
    const asked = new Set(messages.filter(isOwn).map(({ conversationId }) => conversationId))
    const others = await this.othersOf(
      userId,
      conversations.filter(({ id }) => asked.has(id)),
      kysely,
    )
    return messages.map((message) => ({
      message,
      status: isOwn(message) ? statusOf(message, others.get(message.conversationId) ?? []) : null,
    }))
  }

  /** By conversation, marks of everybody else, or the lowest of them. */
  private async othersOf(
    userId: string,
    conversations: readonly Pick<Conversation, 'id' | 'subject'>[],
    kysely: Kysely<Database>,
  ): Promise<Map<string, Marks[]>> {
    const marks = new Map<string, Marks[]>()
    const plain = conversations.filter(({ subject }) => subject === null).map(({ id }) => id)
    for (const { id, ...lowest } of await this.lowest(userId, plain, kysely)) marks.set(id, [lowest])
    const tied = conversations.filter(({ subject }) => subject !== null)
    if (tied.length === 0) return marks
    const ids = tied.map(({ id }) => id)
    const members = await this.store.members(ids, kysely)
    const othersOf = (id: string) => (members.get(id) ?? []).filter((member) => member.userId !== userId)
    const present = tied.map(({ id, subject }) => {
      return { id, subject, userIds: othersOf(id).map((member) => member.userId) }
    })
    // Who may not see it any more will never read it.
    const seeing = await this.membership.visibleIn(present, kysely)
    for (const { id } of tied) {
      marks.set(
        id,
        othersOf(id).filter((member) => seeing.get(id)?.has(member.userId) === true),
      )
    }
    return marks
  }

  private async lowest(
    userId: string,
    conversationIds: readonly string[],
    kysely: Kysely<Database>,
  ): Promise<(Marks & { readonly id: string })[]> {
    if (conversationIds.length === 0) return []
    return await kysely
      .selectFrom('conversation_members')
      .select([
        'conversation_id as id',
        lowestOf(sql.ref('read_position')).as('readPosition'),
        lowestOf(sql`case when delivered_position > read_position then delivered_position else read_position end`).as(
          'deliveredPosition',
        ),
      ])
      .where(sql<boolean>`conversation_id in ${givenTexts(this.database.dialect, conversationIds)}`)
      .where('user_id', '<>', userId)
      .groupBy('conversation_id')
      .execute()
  }
}

/** Of those who are in it; where nobody else is any more, how far any of them had come, since nothing of it goes back. */
function lowestOf(mark: RawBuilder<unknown>): RawBuilder<number> {
  return sql<number>`coalesce(min(case when left_at_ms is null then ${mark} end), max(${mark}))`
}
