/** How conversations begin: a group each time it is asked for, all others once, however many begin them at one moment. */

import type { Transaction } from 'kysely'
import type { Random } from '../../shared/random.ts'
import { shortened } from '../../shared/schema-errors.ts'
import type { Database } from '../database/schema.ts'
import type { Asker } from '../identity/identity.ts'
import { USER_ID_PATTERN } from '../notifications/notifications.ts'
import {
  type Conversation,
  directId,
  type MemberRole,
  newGroupId,
  type Subject,
  type SubjectKind,
  subjectConversationId,
} from './conversation.ts'
import {
  checkSubjectId,
  checkTitle,
  checkUserIds,
  isProgram,
  personRequired,
  refuseUsers,
  subjectUnknown,
  tooManyMembers,
  UNKNOWN_PERSON,
} from './conversation-rules.ts'
import type { ConversationView } from './conversation-view.ts'
import { chatInvalid, conversationUnknown } from './errors.ts'
import { MemberChanges, type MemberChangesOptions } from './member-changes.ts'
import type { Also } from './message-options.ts'
import { isSeen, SubjectSight, type SubjectSources, subjectKey } from './subject-sight.ts'
import { Subjects } from './subjects.ts'

export type NewConversation =
  | { readonly kind: 'direct'; readonly userId: string }
  | { readonly kind: 'group'; readonly title: string; readonly userIds?: readonly string[] | undefined }
  | { readonly kind: SubjectKind; readonly subjectId: string }

export interface Begun {
  readonly conversation: ConversationView
  /** False when there was one. */
  readonly created: boolean
}

export interface BeginningOptions extends MemberChangesOptions {
  readonly subjects: SubjectSources
  readonly random: Random
}

type NewMember = { readonly userId: string; readonly role: MemberRole }

export class ConversationBeginning {
  private readonly options: BeginningOptions
  private readonly members: MemberChanges
  private readonly sight: SubjectSight
  private readonly subjects: Subjects

  constructor(options: BeginningOptions) {
    this.options = options
    this.members = new MemberChanges(options)
    this.sight = new SubjectSight(options)
    this.subjects = new Subjects(options.subjects)
  }

  async begin(asker: Asker, wanted: NewConversation, also?: Also<Begun>): Promise<Begun> {
    if (isProgram(asker.userId)) throw personRequired()
    if (wanted.kind === 'direct') return await this.direct(asker, wanted.userId, also)
    if (wanted.kind === 'group') return await this.group(asker, wanted.title, wanted.userIds ?? [], also)
    return await this.about(asker, { kind: wanted.kind, id: wanted.subjectId }, also)
  }

  private async direct(asker: Asker, userId: string, also?: Also<Begun>): Promise<Begun> {
    const wrong = (remedy: string) => chatInvalid([{ pointer: '/userId', value: shortened(userId), remedy }])
    if (userId === asker.userId) throw wrong('somebody else')
    if (!USER_ID_PATTERN.test(userId)) throw wrong(UNKNOWN_PERSON)
    const isKnown = (await this.options.people.known([userId], asker)).has(userId)
    const id = directId(asker.userId, userId)
    const both: NewMember[] = [asker.userId, userId].map((each) => ({ userId: each, role: 'member' }))
    return await this.begun(asker.userId, id, also, async (transaction) => {
      // What they have said to each other stays theirs, whatever became of the other one.
      if ((await this.options.store.get(id, transaction)) !== null) return false
      if (!isKnown || isProgram(userId)) throw wrong(UNKNOWN_PERSON)
      return await this.create(this.conversation(id, asker, { kind: 'direct' }), both, transaction)
    })
  }

  private async group(asker: Asker, title: string, userIds: readonly string[], also?: Also<Begun>): Promise<Begun> {
    const { people, settings, random } = this.options
    checkTitle(title)
    const others = checkUserIds(userIds, asker.userId, settings.membersMax)
    const known = await people.known(others, asker)
    const unknown = others.filter((userId) => !known.has(userId))
    refuseUsers(userIds, unknown, UNKNOWN_PERSON)
    const id = newGroupId(random)
    const members: NewMember[] = [
      { userId: asker.userId, role: 'owner' },
      ...others.map((userId) => ({ userId, role: 'member' as const })),
    ]
    return await this.begun(asker.userId, id, also, async (transaction) => {
      return await this.create(this.conversation(id, asker, { kind: 'group', title }), members, transaction)
    })
  }

  private async about(asker: Asker, subject: Subject, also?: Also<Begun>): Promise<Begun> {
    const { kysely } = this.options.database
    checkSubjectId(subject.kind, subject.id)
    const key = subjectKey(subject)
    const shown = (await this.subjects.of([subject], kysely)).get(key)
    const sight = (await this.sight.of([subject], kysely)).get(key) ?? null
    const isThere = shown !== undefined && shown.link !== null
    if (!isThere || !isSeen(sight, asker.userId, asker.sees)) throw subjectUnknown(subject.kind, subject.id)
    const id = subjectConversationId(subject)
    const joining: NewMember[] = [{ userId: asker.userId, role: 'member' }]
    return await this.begun(asker.userId, id, also, async (transaction) => {
      const seeing = await this.sight.visibleTo(subject, [asker.userId], transaction)
      if (!seeing.has(asker.userId)) throw subjectUnknown(subject.kind, subject.id)
      const conversation = this.conversation(id, asker, { kind: subject.kind, subject })
      const created = await this.create(conversation, joining, transaction)
      if (!created) await this.join(id, asker.userId, transaction)
      await this.sight.remember(subject, transaction)
      return created
    })
  }

  /** False when there is one already; whoever comes second at one moment waits here for the first. */
  private async create(
    conversation: Conversation,
    members: readonly NewMember[],
    transaction: Transaction<Database>,
  ): Promise<boolean> {
    const { store, messages } = this.options
    const { id, createdBy, title } = conversation
    if (!(await store.insert(conversation, transaction))) return false
    await this.members.letIn(id, members, 0, transaction)
    const userIds = members.map(({ userId }) => userId).filter((userId) => userId !== createdBy)
    const whom = userIds.length === 0 ? {} : { userIds }
    const called = title === null ? {} : { title }
    await messages.postNotice(id, createdBy, { action: 'created', ...whom, ...called }, transaction)
    return true
  }

  private async join(id: string, userId: string, transaction: Transaction<Database>): Promise<void> {
    const { store, messages, settings } = this.options
    const conversation = await store.lock(id, transaction)
    if (conversation === null) throw conversationUnknown(id)
    const member = await store.member(id, userId, transaction)
    if (member !== null && member.leftAtMs === null) return
    const present = await store.membersOf(id, transaction)
    if (present.length >= settings.membersMax) throw tooManyMembers(settings.membersMax)
    await this.members.letIn(id, [{ userId, role: 'member' }], conversation.lastRevision, transaction)
    await messages.postNotice(id, userId, { action: 'joined' }, transaction)
  }

  private async begun(
    userId: string,
    id: string,
    also: Also<Begun> | undefined,
    store: (transaction: Transaction<Database>) => Promise<boolean>,
  ): Promise<Begun> {
    return await this.options.database.transaction(async (transaction) => {
      const created = await store(transaction)
      const conversation = await this.options.views.get(userId, id, transaction)
      const begun = { conversation, created }
      await also?.(begun, transaction)
      return begun
    })
  }

  private conversation(
    id: string,
    { userId }: Asker,
    what: Pick<Conversation, 'kind'> & Partial<Pick<Conversation, 'title' | 'subject'>>,
  ): Conversation {
    const nowMs = Math.round(this.options.clock.wallMs())
    return {
      ...{ id, title: null, subject: null, lastRevision: 0, lastMessageAtMs: null, createdBy: userId, ...what },
      ...{ createdAtMs: nowMs, updatedAtMs: nowMs, archivedAtMs: null, archivedBy: null },
    }
  }
}
