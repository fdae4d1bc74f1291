/** The part of a core in which people talk, for tests: conversations and messages over a database, with the relay that publishes. */

import { onTestFinished } from 'vitest'
import { AlertStore } from '../../cloud/alerts/alert-store.ts'
import type { Bus } from '../../cloud/bus/bus.ts'
import type { Outbox } from '../../cloud/bus/outbox.ts'
import type { OutboxRelay } from '../../cloud/bus/outbox-relay.ts'
import { Messages } from '../../cloud/chat/chat.ts'
import type { Conversation, ConversationKind, Member, MemberRole, Subject } from '../../cloud/chat/conversation.ts'
import { newGroupId, subjectConversationId } from '../../cloud/chat/conversation.ts'
import { ConversationStore } from '../../cloud/chat/conversation-store.ts'
import { Membership } from '../../cloud/chat/membership.ts'
import type { ChatNotice, Message } from '../../cloud/chat/message.ts'
import type { MessageSettings } from '../../cloud/chat/message-options.ts'
import { MessageStore } from '../../cloud/chat/message-store.ts'
import type { NewMessage } from '../../cloud/chat/new-message.ts'
import type { SubjectSources } from '../../cloud/chat/subject-sight.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import type { Grant } from '../../cloud/identity/identity.ts'
import { TaskStore } from '../../cloud/orchestration/task-store.ts'
import { SiteStore } from '../../cloud/registry/site-store.ts'
import { type Clock, systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { relayOver } from './outbox-relay.ts'

export const CHAT_SETTINGS = {
  contentCharsMax: 4_000,
  messagesPerMinute: 100_000,
  messagesBurst: 100_000,
  membersMax: 1_000,
  conversationsMax: 2_000,
  receiptsMembersMax: 50,
  mentionsMax: 50,
  linksMax: 10,
  keptDays: 730,
} satisfies MessageSettings & Readonly<Record<string, number>>

export interface ChatCore {
  readonly database: DatabaseHandle
  readonly outbox: Outbox
  readonly relay: OutboxRelay
  readonly subjects: SubjectSources
  readonly membership: Membership
  readonly store: MessageStore
  readonly messages: Messages
  /** A conversation of these people, the first of whom owns a group; straight into the database, without a notice. */
  conversation(people: readonly string[], about?: 'direct' | Subject): Promise<string>
  /** Sends it under a name that was not used before, unless it is given. */
  say(senderId: string, conversationId: string, content: string, changes?: Partial<NewMessage>): Promise<Message>
  notice(conversationId: string, actorId: string, notice: ChatNotice): Promise<Message>
  join(conversationId: string, userId: string, role?: MemberRole): Promise<void>
  leave(conversationId: string, userId: string): Promise<void>
  archive(conversationId: string): Promise<void>
  member(conversationId: string, userId: string): Promise<Member>
  /** A user with those grants; who is none sees everything, as where nobody logs in. */
  addUser(userId: string, grants: readonly Grant[]): Promise<void>
  /** What is to be published of a topic, oldest first. */
  appended<T>(topic: string): Promise<T[]>
}

export interface ChatCoreOptions {
  readonly settings?: Partial<typeof CHAT_SETTINGS>
  readonly clock?: Clock
  /** What the relay publishes to, once it is started. */
  readonly bus?: Pick<Bus, 'publish'>
}

let cores = 0
let names = 0

/** Its duties and its relay are not started; stopped when the test ends. Several over one database are several cores. */
export function chatCore(database: DatabaseHandle, options: ChatCoreOptions = {}): ChatCore {
  const { clock = systemClock, bus = { publish: async () => undefined } } = options
  const settings = { ...CHAT_SETTINGS, ...options.settings }
  const { outbox, relay } = relayOver(database, bus, { clock, pollMs: 50 })
  const alerts = new AlertStore(database)
  const subjects: SubjectSources = {
    sites: new SiteStore({ database, clock }),
    tasks: new TaskStore(database),
    alerts: { some: (ids, kysely = database.kysely) => alerts.some(ids, kysely) },
  }
  const membership = new Membership({ database, subjects })
  const store = new MessageStore({ database, outbox, membership, clock })
  const messages = new Messages({
    database,
    outbox,
    membership,
    settings,
    coreId: `core-chat-${++cores}`,
    // A clock that stands still would let nothing follow.
    paceMs: 0,
    clock,
    log: silentLogger,
  })
  onTestFinished(() => messages.stop(AbortSignal.timeout(2_000)))
  const conversations = new ConversationStore(database)
  const nowMs = () => Math.round(clock.wallMs())
  return {
    database,
    outbox,
    relay,
    subjects,
    membership,
    store,
    messages,
    async conversation(people, about) {
      const conversation = newConversation(people, about, nowMs())
      const isOwned = conversation.kind === 'group'
      await database.transaction(async (transaction) => {
        await conversations.insert(conversation, transaction)
        const members = people.map((userId, i) => ({ userId, role: isOwned && i === 0 ? OWNER : MEMBER }))
        await conversations.join(conversation.id, members, 0, nowMs(), transaction)
      })
      return conversation.id
    },
    async say(senderId, conversationId, content, changes = {}) {
      const clientMessageId = `c-${++names}`
      const { message } = await messages.send(senderId, { conversationId, clientMessageId, content, ...changes })
      return message
    },
    notice(conversationId, actorId, notice) {
      return database.transaction((transaction) => store.postNotice(conversationId, actorId, notice, transaction))
    },
    async join(conversationId, userId, role = MEMBER) {
      await database.transaction(async (transaction) => {
        const conversation = await conversations.lock(conversationId, transaction)
        const position = conversation?.lastRevision ?? 0
        await conversations.join(conversationId, [{ userId, role }], position, nowMs(), transaction)
      })
    },
    async leave(conversationId, userId) {
      await database.transaction((transaction) => conversations.leave(conversationId, userId, nowMs(), transaction))
    },
    async archive(conversationId) {
      const archived = { by: 'somebody', atMs: nowMs() }
      await database.transaction((transaction) => conversations.setArchived(conversationId, archived, transaction))
    },
    async member(conversationId, userId) {
      return (await conversations.member(conversationId, userId, database.kysely)) as Member
    },
    async addUser(userId, grants) {
      const times = { created_at_ms: nowMs(), updated_at_ms: nowMs() }
      await database.kysely
        .insertInto('users')
        .values({ id: userId, status: 'active', ...times })
        .execute()
      for (const { role, siteId } of grants) {
        const site_id = siteId === 'all' ? 0 : siteId
        await database.kysely.insertInto('user_grants').values({ user_id: userId, role, site_id }).execute()
      }
    },
    async appended(topic) {
      const rows = await database.kysely
        .selectFrom('outbox')
        .select('value')
        .where('topic', '=', topic)
        .orderBy('id')
        .execute()
      return rows.map(({ value }) => JSON.parse(value))
    },
  }
}

const OWNER: MemberRole = 'owner'
const MEMBER: MemberRole = 'member'

function newConversation(people: readonly string[], about: 'direct' | Subject | undefined, atMs: number): Conversation {
  const subject = typeof about === 'object' ? about : null
  const kind: ConversationKind = about === 'direct' ? 'direct' : (subject?.kind ?? 'group')
  return {
    id: subject === null ? newGroupId(systemRandom) : subjectConversationId(subject),
    kind,
    title: kind === 'group' ? 'Switchgear' : null,
    subject,
    lastRevision: 0,
    lastMessageAtMs: null,
    createdBy: people[0] ?? 'nobody',
    createdAtMs: atMs,
    updatedAtMs: atMs,
    archivedAtMs: null,
    archivedBy: null,
  }
}
