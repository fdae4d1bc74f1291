/**
 * Conversations: begun, shown, named, archived, and who is in them. Each change is stored with its notice in one transaction, in
 * which it is also judged, under the lock of the conversation: so of two at once the second sees what the first has left.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { Random } from '../../shared/random.ts'
import type { Outbox } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { Asker, PeopleDirectory } from '../identity/identity.ts'
import type { Page, PageRequest } from '../registry/page.ts'
import type { Conversation, Member, MemberRole } from './conversation.ts'
import { type Begun, ConversationBeginning, type NewConversation } from './conversation-beginning.ts'
import { checkTitle, requireAllowed } from './conversation-rules.ts'
import { ConversationStore } from './conversation-store.ts'
import { type ConversationsRequest, type ConversationView, ConversationViews } from './conversation-view.ts'
import { tooManyChanges } from './errors.ts'
import { MemberChanges, type MembersAdded } from './member-changes.ts'
import type { Membership } from './membership.ts'
import type { Also } from './message-options.ts'
import type { MessageStore } from './message-store.ts'
import { SendLimit, type SendLimitRules } from './send-limit.ts'
import type { SubjectSources } from './subject-sight.ts'
import { Turns } from './turns.ts'

export interface ConversationSettings extends SendLimitRules {
  readonly membersMax: number
  /** That one user may be in. Of several that begin at one moment one too many may come in. */
  readonly conversationsMax: number
}

export interface ConversationsOptions {
  readonly database: DatabaseHandle
  readonly subjects: SubjectSources
  readonly membership: Pick<Membership, 'requireMember' | 'visibleTo'>
  readonly messages: Pick<MessageStore, 'postNotice'>
  readonly people: PeopleDirectory
  readonly settings: ConversationSettings
  readonly outbox: Pick<Outbox, 'nudge'>
  readonly clock: Clock
  readonly random: Random
}

export interface ConversationChanges {
  /** Of a group. */
  readonly title?: string | undefined
  readonly archived?: boolean | undefined
}

export interface MemberView extends Member {
  readonly name: string | null
  /** False for who may not see what the conversation is about any more: it is as if they were not in it. */
  readonly sees: boolean
}

export class Conversations {
  private readonly options: ConversationsOptions
  private readonly store: ConversationStore
  private readonly views: ConversationViews
  private readonly beginning: ConversationBeginning
  private readonly memberChanges: MemberChanges
  private readonly limit: SendLimit
  private readonly turns = new Turns()

  constructor(options: ConversationsOptions) {
    this.options = options
    this.store = new ConversationStore(options.database)
    this.views = new ConversationViews(options)
    const common = { ...options, store: this.store, views: this.views }
    this.beginning = new ConversationBeginning(common)
    this.memberChanges = new MemberChanges(common)
    this.limit = new SendLimit(options.settings)
  }

  /** Of one user; where something was said last comes first. @throws InvalidRegistrationError for limit and cursor. */
  list(userId: string, request: ConversationsRequest = {}): Promise<Page<ConversationView>> {
    return this.views.list(userId, request)
  }

  /** @throws ChatError CONVERSATION_UNKNOWN */
  get(userId: string, conversationId: string): Promise<ConversationView> {
    return this.views.get(userId, conversationId)
  }

  /**
   * A new group; the conversation of two, or the one about a site, a task or an alert, which is made unless there is one. Of the
   * latter everybody becomes a member who begins it.
   * @throws ChatError INVALID_INPUT, MEMBERS_MAX, CONVERSATIONS_MAX, PERSON_REQUIRED; as all changes RATE_LIMITED
   */
  async begin(asker: Asker, wanted: NewConversation, also?: Also<Begun>): Promise<Begun> {
    return await this.stored(asker.userId, () => this.beginning.begin(asker, wanted, also))
  }

  /** @throws ChatError CONVERSATION_UNKNOWN, CONVERSATION_OWNER_ONLY, CONVERSATION_ARCHIVED, INVALID_INPUT */
  async change(
    userId: string,
    conversationId: string,
    changes: ConversationChanges,
    also?: Also<ConversationView>,
  ): Promise<ConversationView> {
    const { title, archived } = changes
    if (title !== undefined) checkTitle(title)
    const changing = () =>
      this.options.database.transaction(async (transaction) => {
        const { conversation } = await this.memberChanges.locked(userId, conversationId, transaction)
        const isArchived = conversation.archivedAtMs !== null
        // Reopened before it is named, and archived after that.
        if (archived === false && isArchived) await this.setArchived(conversation, userId, false, transaction)
        if (title !== undefined) {
          const open = archived === false ? { ...conversation, archivedAtMs: null } : conversation
          await this.rename(open, userId, title, transaction)
        }
        if (archived === true && !isArchived) await this.setArchived(conversation, userId, true, transaction)
        const view = await this.views.get(userId, conversationId, transaction)
        await also?.(view, transaction)
        return view
      })
    return await this.stored(userId, changing)
  }

  /** By user. @throws ChatError CONVERSATION_UNKNOWN; InvalidRegistrationError for limit and cursor. */
  async members(userId: string, conversationId: string, request: PageRequest = {}): Promise<Page<MemberView>> {
    const { database, people, membership } = this.options
    const { kysely } = database
    const { conversation } = await membership.requireMember(userId, conversationId, kysely)
    const page = await this.store.memberPage(conversationId, request)
    const userIds = page.items.map((member) => member.userId)
    const names = await people.names(userIds)
    const seeing = await membership.visibleTo(conversation.subject, userIds, kysely)
    const items = page.items.map((member) => {
      return { ...member, name: names.get(member.userId) ?? null, sees: seeing.has(member.userId) }
    })
    return { ...page, items }
  }

  /**
   * Who is in it already stays as they are. Resolves with those who came in.
   * @throws ChatError CONVERSATION_UNKNOWN, CONVERSATION_OWNER_ONLY, CONVERSATION_ARCHIVED, CONVERSATION_KIND, INVALID_INPUT,
   *   MEMBERS_MAX, CONVERSATIONS_MAX
   */
  async addMembers(
    asker: Asker,
    conversationId: string,
    userIds: readonly string[],
    also?: Also<MembersAdded>,
  ): Promise<MembersAdded> {
    return await this.stored(asker.userId, () => this.memberChanges.add(asker, conversationId, userIds, also))
  }

  /**
   * Of a group.
   * @throws ChatError CONVERSATION_UNKNOWN, MEMBER_UNKNOWN, CONVERSATION_OWNER_ONLY, CONVERSATION_LAST_OWNER,
   *   CONVERSATION_ARCHIVED, CONVERSATION_KIND, PERSON_REQUIRED
   */
  async setRole(
    userId: string,
    conversationId: string,
    memberId: string,
    role: MemberRole,
    also?: Also<Member>,
  ): Promise<Member> {
    return await this.stored(userId, () => this.memberChanges.setRole(userId, conversationId, memberId, role, also))
  }

  /**
   * Of oneself it is leaving. When no owner is left, the one who joined first becomes one.
   * @throws ChatError CONVERSATION_UNKNOWN, MEMBER_UNKNOWN, CONVERSATION_OWNER_ONLY, CONVERSATION_ARCHIVED, CONVERSATION_KIND
   */
  async removeMember(userId: string, conversationId: string, memberId: string, also?: Also<Member>): Promise<Member> {
    return await this.stored(userId, () => this.memberChanges.remove(userId, conversationId, memberId, also))
  }

  private async rename(
    conversation: Conversation,
    userId: string,
    title: string,
    transaction: Transaction<Database>,
  ): Promise<void> {
    requireAllowed(conversation, 'rename')
    await this.memberChanges.requireOwner(conversation, userId, 'rename', transaction)
    if (title === conversation.title) return
    await this.store.setTitle(conversation.id, title, transaction)
    await this.options.messages.postNotice(conversation.id, userId, { action: 'renamed', title }, transaction)
  }

  private async setArchived(
    conversation: Conversation,
    userId: string,
    archived: boolean,
    transaction: Transaction<Database>,
  ): Promise<void> {
    requireAllowed(conversation, 'archive')
    await this.memberChanges.requireOwner(conversation, userId, 'archive', transaction)
    const atMs = Math.round(this.options.clock.wallMs())
    await this.store.setArchived(conversation.id, archived ? { by: userId, atMs } : null, transaction)
    const action = archived ? 'archived' : 'reopened'
    await this.options.messages.postNotice(conversation.id, userId, { action }, transaction)
  }

  /**
   * One after the other of one user, and so many in a minute, since each is told to everybody who is in it. What is committed is
   * to be published. @throws ChatError RATE_LIMITED; BusbarError CHAT_BUSY
   */
  private async stored<T>(userId: string, change: () => Promise<T>): Promise<T> {
    const retryAfterMs = this.limit.take(userId, this.options.clock.monotonicMs())
    if (retryAfterMs > 0) throw tooManyChanges(retryAfterMs)
    const result = await this.turns.take(userId, change)
    this.options.outbox.nudge()
    return result
  }
}
