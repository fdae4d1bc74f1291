/** Who comes into conversations, who goes, and who owns them. */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { shortened } from '../../shared/schema-errors.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { Asker, PeopleDirectory } from '../identity/identity.ts'
import { CONVERSATION_ID_PATTERN, type Conversation, type Member, type MemberRole } from './conversation.ts'
import {
  type ConversationAction,
  checkUserIds,
  isProgram,
  lastOwner,
  memberUnknown,
  needsOwner,
  ownerOnly,
  personRequired,
  refuseUsers,
  requireAllowed,
  successor,
  tooManyConversations,
  tooManyMembers,
  UNKNOWN_PERSON,
} from './conversation-rules.ts'
import type { ConversationStore } from './conversation-store.ts'
import type { ConversationView, ConversationViews } from './conversation-view.ts'
import { conversationUnknown } from './errors.ts'
import type { Membership } from './membership.ts'
import type { Also } from './message-options.ts'
import type { MessageStore } from './message-store.ts'

export interface MembersAdded {
  readonly conversation: ConversationView
  /** Who was not in it before. */
  readonly added: readonly string[]
}

export interface MemberChangesOptions {
  readonly database: DatabaseHandle
  readonly store: ConversationStore
  readonly views: ConversationViews
  readonly membership: Pick<Membership, 'requireMember' | 'visibleTo'>
  readonly messages: Pick<MessageStore, 'postNotice'>
  readonly people: PeopleDirectory
  readonly settings: { readonly membersMax: number; readonly conversationsMax: number }
  readonly clock: Clock
}

export class MemberChanges {
  private readonly options: MemberChangesOptions

  constructor(options: MemberChangesOptions) {
    this.options = options
  }

  /** The conversation, locked, and who asks in it. @throws ChatError CONVERSATION_UNKNOWN */
  async locked(
    userId: string,
    conversationId: string,
    transaction: Transaction<Database>,
  ): Promise<{ readonly conversation: Conversation; readonly member: Member }> {
    const { store, membership } = this.options
    if (!CONVERSATION_ID_PATTERN.test(conversationId)) throw conversationUnknown(conversationId)
    await store.lock(conversationId, transaction)
    return await membership.requireMember(userId, conversationId, transaction)
  }

  /**
   * That the member may do what only owners do, where that is so. Owners who cannot be there any more count for nothing: the
   * one who joined first takes their place when it is needed.
   * @throws ChatError CONVERSATION_OWNER_ONLY
   */
  async requireOwner(
    { id, kind }: Conversation,
    userId: string,
    action: ConversationAction,
    transaction: Transaction<Database>,
  ): Promise<void> {
    if (!needsOwner(kind, action)) return
    const members = await this.options.store.membersOf(id, transaction)
    if (members.some((member) => member.userId === userId && member.role === 'owner')) return
    if ((await this.successor(members, transaction)) !== userId) throw ownerOnly(action)
    await this.giveRole(id, userId, userId, 'owner', transaction)
  }

  async add(
    asker: Asker,
    conversationId: string,
    userIds: readonly string[],
    also?: Also<MembersAdded>,
  ): Promise<MembersAdded> {
    const { database, membership, messages, people, settings, store, views } = this.options
    const others = checkUserIds(userIds, asker.userId, settings.membersMax)
    const known = await people.known(others, asker)
    return await database.transaction(async (transaction) => {
      const { conversation } = await this.locked(asker.userId, conversationId, transaction)
      requireAllowed(conversation, 'add')
      await this.requireOwner(conversation, asker.userId, 'add', transaction)
      const present = await store.membersOf(conversationId, transaction)
      const isIn = new Set(present.map(({ userId }) => userId))
      const added = others.filter((userId) => !isIn.has(userId))
      const unknown = added.filter((userId) => !known.has(userId))
      refuseUsers(userIds, unknown, UNKNOWN_PERSON)
      const seeing = await membership.visibleTo(conversation.subject, added, transaction)
      const blind = added.filter((userId) => !seeing.has(userId))
      refuseUsers(userIds, blind, `somebody who may see the ${conversation.kind}`)
      if (present.length + added.length > settings.membersMax) throw tooManyMembers(settings.membersMax)
      if (added.length > 0) {
        await this.letIn(
          conversationId,
          added.map((userId) => ({ userId, role: 'member' })),
          // As it was left by whoever owner was made just now.
          (await store.get(conversationId, transaction))?.lastRevision ?? conversation.lastRevision,
          transaction,
        )
        await messages.postNotice(conversationId, asker.userId, { action: 'added', userIds: added }, transaction)
      }
      const result = { conversation: await views.get(asker.userId, conversationId, transaction), added }
      await also?.(result, transaction)
      return result
    })
  }

  async setRole(
    userId: string,
    conversationId: string,
    memberId: string,
    role: MemberRole,
    also?: Also<Member>,
  ): Promise<Member> {
    const { database } = this.options
    if (role === 'owner' && isProgram(memberId)) throw personRequired()
    return await database.transaction(async (transaction) => {
      const { conversation } = await this.locked(userId, conversationId, transaction)
      requireAllowed(conversation, 'role')
      await this.requireOwner(conversation, userId, 'role', transaction)
      const members = await this.options.store.membersOf(conversationId, transaction)
      const member = find(members, memberId)
      if (member.role !== role) {
        const others = members.filter((other) => other.role === 'owner' && other.userId !== memberId)
        if (role === 'member' && others.length === 0) throw lastOwner(memberId)
        await this.giveRole(conversationId, userId, memberId, role, transaction)
      }
      const after = { ...member, role }
      await also?.(after, transaction)
      return after
    })
  }

  async remove(userId: string, conversationId: string, memberId: string, also?: Also<Member>): Promise<Member> {
    const { database, messages, store, clock } = this.options
    const action = userId === memberId ? 'leave' : 'remove'
    return await database.transaction(async (transaction) => {
      const { conversation } = await this.locked(userId, conversationId, transaction)
      requireAllowed(conversation, action)
      await this.requireOwner(conversation, userId, action, transaction)
      const members = await this.options.store.membersOf(conversationId, transaction)
      const member = find(members, memberId)
      const rest = members.filter((other) => other !== member)
      if (conversation.kind === 'group') await this.handOver(conversationId, userId, rest, transaction)
      const notice =
        action === 'leave' ? { action: 'left' as const } : { action: 'removed' as const, userIds: [memberId] }
      // While they are in it, so that they are told as well.
      await messages.postNotice(conversationId, userId, notice, transaction)
      const nowMs = Math.round(clock.wallMs())
      await store.leave(conversationId, memberId, nowMs, transaction)
      const after = { ...member, leftAtMs: nowMs }
      await also?.(after, transaction)
      return after
    })
  }

  /** @throws ChatError CONVERSATIONS_MAX */
  async letIn(
    conversationId: string,
    members: readonly { readonly userId: string; readonly role: MemberRole }[],
    position: number,
    transaction: Transaction<Database>,
  ): Promise<void> {
    const { store, settings, clock } = this.options
    const userIds = members.map(({ userId }) => userId)
    const full = await store.fullUser(userIds, settings.conversationsMax, transaction)
    if (full !== null) throw tooManyConversations(full, settings.conversationsMax)
    await store.join(conversationId, members, position, Math.round(clock.wallMs()), transaction)
  }

  /** When none of the rest is an owner, one of them becomes it. */
  private async handOver(
    conversationId: string,
    actorId: string,
    rest: readonly Member[],
    transaction: Transaction<Database>,
  ): Promise<void> {
    const next = await this.successor(rest, transaction)
    if (next !== null) await this.giveRole(conversationId, actorId, next, 'owner', transaction)
  }

  private async successor(members: readonly Member[], transaction: Transaction<Database>): Promise<string | null> {
    const gone = await this.options.people.gone(
      members.map(({ userId }) => userId),
      transaction,
    )
    return successor(members, gone)
  }

  private async giveRole(
    conversationId: string,
    actorId: string,
    userId: string,
    role: MemberRole,
    transaction: Transaction<Database>,
  ): Promise<void> {
    await this.options.store.setRole(conversationId, userId, role, transaction)
    await this.options.messages.postNotice(
      conversationId,
      actorId,
      { action: 'role', userIds: [userId], role },
      transaction,
    )
  }
}

/** @throws ChatError MEMBER_UNKNOWN */
function find(members: readonly Member[], userId: string): Member {
  const member = members.find((each) => each.userId === userId)
  if (member === undefined) throw memberUnknown(String(shortened(userId)))
  return member
}
