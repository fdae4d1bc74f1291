/** Conversations as one who is in them is shown them: title and link, what was said last, and how much is not read. */

import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import type { PeopleDirectory } from '../identity/identity.ts'
import { readTimeKey } from '../registry/newest-first.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'
import { CONVERSATION_ID_PATTERN, type Conversation, type ConversationKind, type Member } from './conversation.ts'
import { toConversation, toMember } from './conversation-store.ts'
import { conversationUnknown } from './errors.ts'
import { Membership } from './membership.ts'
import type { Message } from './message.ts'
import { toMessage } from './message-rows.ts'
import { type SubjectSources, subjectKey } from './subject-sight.ts'
import { Subjects } from './subjects.ts'

/** More is not counted. */
export const UNREAD_COUNTED_MAX = 1_000
const NO_NAMES: ReadonlyMap<string, string> = new Map()
/** Rows that are looked at together when many are of what may not be seen. */
const ROWS_PER_STEP = 500

export interface ConversationView extends Omit<Conversation, 'title'> {
  /** Of a conversation of two, the other one's name. */
  readonly title: string
  /** Where the API has what it is about; null for nothing, and for what is not kept any more. */
  readonly link: string | null
  /** Of a conversation of two, the other one. */
  readonly withUserId: string | null
  /** When somebody said something last; when it was begun as long as nobody has. */
  readonly lastActivityAtMs: number
  /** Also a notice; null when none is kept. */
  readonly lastMessage: Message | null
  /** Messages of others that are not deleted, after what is read; at most UNREAD_COUNTED_MAX. */
  readonly unread: number
  readonly memberCount: number
  /** Whose view it is. */
  readonly own: Member
}

export interface ConversationsRequest extends PageRequest {
  readonly kind?: ConversationKind | undefined
  /** The archived ones as well. */
  readonly archived?: boolean | undefined
}

export interface ViewOptions {
  readonly database: DatabaseHandle
  readonly subjects: SubjectSources
  readonly people: Pick<PeopleDirectory, 'names'>
}

interface Found {
  readonly conversation: Conversation
  readonly own: Member
}

export class ConversationViews {
  private readonly options: ViewOptions
  private readonly membership: Membership
  private readonly subjects: Subjects

  constructor(options: ViewOptions) {
    this.options = options
    this.membership = new Membership(options)
    this.subjects = new Subjects(options.subjects)
  }

  /** Where something was said last comes first. @throws InvalidRegistrationError for limit and cursor. */
  async list(userId: string, request: ConversationsRequest = {}): Promise<Page<ConversationView>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    const { kysely } = this.options.database
    let key = after === null ? null : readTimeKey(after, request.cursor, CONVERSATION_ID_PATTERN)
    const seen: Found[] = []
    for (let step = limit + 1; seen.length <= limit; step = ROWS_PER_STEP) {
      const found = await this.find(userId, request, key, step)
      seen.push(...(await this.visible(found, userId, kysely)))
      const last = found.at(-1)
      if (found.length < step || last === undefined) break
      key = activityKey(last)
    }
    const page = toPage(
      seen,
      limit,
      (found) => `${activityKey(found).atMs}/${found.conversation.id}`,
      (found) => found,
    )
    return { ...page, items: await this.views(page.items, kysely) }
  }

  /** @throws ChatError CONVERSATION_UNKNOWN for who is not in it, or may not see what it is about any more. */
  async get(
    userId: string,
    conversationId: string,
    kysely: Kysely<Database> = this.options.database.kysely,
  ): Promise<ConversationView> {
    if (!CONVERSATION_ID_PATTERN.test(conversationId)) throw conversationUnknown(conversationId)
    const rows = await this.of(userId, kysely).where('conversations.id', '=', conversationId).execute()
    const [view] = await this.views(await this.visible(rows.map(toFound), userId, kysely), kysely)
    if (view === undefined) throw conversationUnknown(conversationId)
    return view
  }

  private async find(
    userId: string,
    { kind, archived = false }: ConversationsRequest,
    after: ActivityKey | null,
    limit: number,
  ): Promise<Found[]> {
    let query = this.of(userId, this.options.database.kysely)
      .orderBy(ACTIVITY, 'desc')
      .orderBy('conversations.id', 'desc')
      .limit(limit)
    if (!archived) query = query.where('archived_at_ms', 'is', null)
    if (kind !== undefined) query = query.where('kind', '=', kind)
    if (after !== null) {
      const { atMs, id } = after
      query = query.where(sql<boolean>`(${ACTIVITY} < ${atMs} or (${ACTIVITY} = ${atMs} and conversations.id < ${id}))`)
    }
    return (await query.execute()).map(toFound)
  }

  private of(userId: string, kysely: Kysely<Database>) {
    return kysely
      .selectFrom('conversation_members')
      .innerJoin('conversations', 'conversations.id', 'conversation_members.conversation_id')
      .selectAll(['conversations', 'conversation_members'])
      .where('user_id', '=', userId)
      .where('left_at_ms', 'is', null)
  }

  /** Without those about what the user may not see. */
  private async visible(found: readonly Found[], userId: string, kysely: Kysely<Database>): Promise<readonly Found[]> {
    const conversations = found.map(({ conversation }) => conversation)
    const seen = new Set(await this.membership.seenBy(userId, conversations, kysely))
    return found.filter(({ conversation }) => seen.has(conversation))
  }

  private async views(found: readonly Found[], kysely: Kysely<Database>): Promise<ConversationView[]> {
    if (found.length === 0) return []
    const subjects = await this.subjects.of(
      found.flatMap(({ conversation }) => conversation.subject ?? []),
      kysely,
    )
    const others = await this.others(found, kysely)
    const names = others.size === 0 ? NO_NAMES : await this.options.people.names([...others.values()], kysely)
    const messages = await this.lastMessages(found, kysely)
    const counts = await this.counts(found, kysely)
    return found.map(({ conversation, own }) => {
      const { id, subject, lastMessageAtMs, createdAtMs } = conversation
      const about = subject === null ? null : (subjects.get(subjectKey(subject)) ?? null)
      const other = others.get(id) ?? null
      return {
        ...conversation,
        title: about?.title ?? conversation.title ?? (other === null ? id : (names.get(other) ?? other)),
        link: about?.link ?? null,
        withUserId: other,
        lastActivityAtMs: lastMessageAtMs ?? createdAtMs,
        lastMessage: messages.get(id) ?? null,
        ...(counts.get(id) ?? { unread: 0, memberCount: 0 }),
        own,
      }
    })
  }

  /** By conversation of two, whom it is with. */
  private async others(found: readonly Found[], kysely: Kysely<Database>): Promise<ReadonlyMap<string, string>> {
    const direct = found.filter(({ conversation }) => conversation.kind === 'direct')
    const [first] = direct
    if (first === undefined) return new Map()
    const ids = direct.map(({ conversation }) => conversation.id)
    const rows = await kysely
      .selectFrom('conversation_members')
      .select(['conversation_id', 'user_id'])
      .where(sql<boolean>`conversation_id in ${givenTexts(this.options.database.dialect, ids)}`)
      .where('user_id', '<>', first.own.userId)
      .execute()
    return new Map(rows.map((row) => [row.conversation_id, row.user_id]))
  }

  private async lastMessages(found: readonly Found[], kysely: Kysely<Database>): Promise<ReadonlyMap<string, Message>> {
    const given = this.given(found)
    // The highest position of each is where its index ends.
    const rows = await kysely
      .selectFrom('chat_messages')
      .selectAll()
      .where(
        sql<boolean>`(conversation_id, position) in (select given.id,
          (select max(position) from chat_messages as newest where newest.conversation_id = given.id) from ${given})`,
      )
      .execute()
    return new Map(rows.map((row) => [row.conversation_id, toMessage(row)]))
  }

  private async counts(
    found: readonly Found[],
    kysely: Kysely<Database>,
  ): Promise<ReadonlyMap<string, Pick<ConversationView, 'unread' | 'memberCount'>>> {
    const userId = found[0]?.own.userId ?? ''
    const { rows } = await sql<{ id: string; unread: number | string; members: number | string }>`
      select given.id as id,
        (select count(*) from (
          select 1 from chat_messages
          where conversation_id = given.id and position > given.read_position and kind = 'MESSAGE'
            and sender_id <> ${userId} and deleted_at_ms is null
          limit ${UNREAD_COUNTED_MAX}) as counted) as unread,
        (select count(*) from conversation_members
          where conversation_id = given.id and left_at_ms is null) as members
      from ${this.given(found)}`.execute(kysely)
    return new Map(
      rows.map(({ id, unread, members }) => [id, { unread: Number(unread), memberCount: Number(members) }]),
    )
  }

  private given(found: readonly Found[]): RawBuilder<unknown> {
    const rows = found.map(({ own }) => ({ id: own.conversationId, read_position: own.readPosition }))
    return givenRows(this.options.database.dialect, { id: 'text', read_position: 'bigint' }, rows)
  }
}

/** Where a row is in the order of the listing. */
interface ActivityKey {
  readonly atMs: number
  readonly id: string
}

const ACTIVITY = sql<number>`coalesce(last_message_at_ms, created_at_ms)`

function activityKey({ conversation: { id, lastMessageAtMs, createdAtMs } }: Found): ActivityKey {
  return { atMs: lastMessageAtMs ?? createdAtMs, id }
}

type Joined = Parameters<typeof toConversation>[0] & Parameters<typeof toMember>[0]

function toFound(row: Joined): Found {
  return { conversation: toConversation(row), own: toMember(row) }
}
