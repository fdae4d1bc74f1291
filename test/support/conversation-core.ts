/** The part of a core that has conversations and who is in them, over a database, for tests. */

import { AlertStore } from '../../cloud/alerts/alert-store.ts'
import { Outbox } from '../../cloud/bus/outbox.ts'
import {
  ChatError,
  type ConversationSettings,
  Conversations,
  MemberDirectory,
  Membership,
  type Message,
  messageIdOf,
} from '../../cloud/chat/chat.ts'
import { MessageStore } from '../../cloud/chat/message-store.ts'
import type { SubjectSources } from '../../cloud/chat/subject-sight.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { type Asker, type Grant, People, sitesSeen } from '../../cloud/identity/identity.ts'
import { TaskStore } from '../../cloud/orchestration/task-store.ts'
import { SiteStore } from '../../cloud/registry/site-store.ts'
import { type Clock, systemClock } from '../../shared/clock.ts'
import { randomHex, systemRandom } from '../../shared/random.ts'

export interface ConversationCore {
  readonly database: DatabaseHandle
  readonly conversations: Conversations
  readonly membership: Membership
  readonly messages: MessageStore
  /** Somebody as the API has them: with the sites that they see at present. */
  asker(userId: string): Promise<Asker>
  /** Something that somebody says, as it is stored. */
  say(conversationId: string, senderId: string, content?: string): Promise<Message>
  /** What happened in a conversation besides what was said, in order: `ann added bob`. */
  notices(conversationId: string): Promise<string[]>
}

/** Several over one database are several cores. @param nobodyLogsIn whoever is named is there. */
export function conversationCore(
  database: DatabaseHandle,
  {
    nobodyLogsIn = false,
    clock = systemClock,
    ...settings
  }: Partial<ConversationSettings> & { readonly nobodyLogsIn?: boolean; readonly clock?: Clock } = {},
): ConversationCore {
  const subjects = subjectSources(database)
  const outbox = new Outbox({ database, clock })
  const membership = new Membership({ database, subjects })
  const messages = new MessageStore({ database, outbox, membership, clock })
  const conversations = new Conversations({
    ...{ database, subjects, membership, messages, outbox, clock, random: systemRandom },
    people: nobodyLogsIn ? new MemberDirectory({ database }) : new People({ database, clock }),
    settings: {
      ...{ membersMax: 1_000, conversationsMax: 2_000, messagesPerMinute: 100_000, messagesBurst: 100_000 },
      ...settings,
    },
  })
  return {
    ...{ database, conversations, membership, messages },
    async asker(userId) {
      const seen = await sitesSeen([userId], database.kysely, database.dialect)
      return { userId, sees: seen.get(userId) ?? 'all' }
    },
    async say(conversationId, senderId, content = 'hello') {
      return await database.transaction(async (transaction) => {
        const locked = await messages.lockConversations([conversationId], transaction)
        const number = (locked.get(conversationId)?.conversation.lastRevision ?? 0) + 1
        const message: Message = {
          ...{ id: messageIdOf(senderId, randomHex(systemRandom, 8)), conversationId, kind: 'MESSAGE', senderId },
          ...{ position: number, revision: number, clientMessageId: null, content, links: [], mentions: [] },
          ...{ notice: null, sentAtMs: Math.round(clock.wallMs()), publishedAtMs: null },
          ...{ editedAtMs: null, deletedAtMs: null, deletedBy: null },
        }
        await messages.insert([message], locked, transaction)
        return message
      })
    },
    async notices(conversationId) {
      const rows = await database.kysely
        .selectFrom('chat_messages')
        .select(['sender_id', 'notice'])
        .where('conversation_id', '=', conversationId)
        .where('kind', '=', 'NOTICE')
        .orderBy('position')
        .execute()
      return rows.map(({ sender_id, notice }) => {
        const { action, userIds = [], title, role } = JSON.parse(notice ?? '{}')
        return [sender_id, action, ...userIds, ...(title === undefined ? [] : [title]), ...(role ? [role] : [])].join(
          ' ',
        )
      })
    },
  }
}

/** What conversations are about, as a core finds it. */
export function subjectSources(database: DatabaseHandle): SubjectSources {
  const alerts = new AlertStore(database)
  return {
    sites: new SiteStore({ database, clock: systemClock }),
    tasks: new TaskStore(database),
    alerts: { some: (ids, kysely) => alerts.some(ids, kysely ?? database.kysely) },
  }
}

/** Users without a password, each with their roles; one who is there gets these in place of what they had. */
export async function addPeople(
  { kysely }: DatabaseHandle,
  people: Readonly<Record<string, readonly Grant[]>>,
  { name = null }: { readonly name?: string | null } = {},
): Promise<void> {
  const at = { created_at_ms: 1, updated_at_ms: 1 }
  for (const [id, grants] of Object.entries(people)) {
    const user = kysely.insertInto('users').values({ id, name, status: 'active', ...at })
    await user.onConflict((conflict) => conflict.column('id').doNothing()).execute()
    await kysely.deleteFrom('user_grants').where('user_id', '=', id).execute()
    for (const { role, siteId } of grants) {
      const grant = { user_id: id, role, site_id: siteId === 'all' ? 0 : siteId }
      await kysely.insertInto('user_grants').values(grant).execute()
    }
  }
}

export async function disable({ kysely }: DatabaseHandle, userId: string): Promise<void> {
  await kysely.updateTable('users').set({ status: 'disabled' }).where('id', '=', userId).execute()
}

export function viewer(...sites: readonly (number | 'all')[]): Grant[] {
  return sites.map((siteId) => ({ role: 'viewer', siteId }))
}

/** A new group called Crew; resolves with its id. */
export async function groupOf(core: ConversationCore, owner: string, ...userIds: string[]): Promise<string> {
  const wanted = { kind: 'group', title: 'Crew', userIds } as const
  return (await core.conversations.begin(await core.asker(owner), wanted)).conversation.id
}

/** The code of what was refused, and where it says that something is wrong. */
export async function refusal(asked: Promise<unknown>): Promise<string> {
  const error = await asked.then(
    () => null,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof ChatError)) throw new Error('this was not refused', { cause: error })
  return [error.code, ...error.fields.map(({ pointer }) => pointer)].join(' ')
}
