/**
 * Who may do what in which conversation. Two people have theirs for good; a group has owners; what is about a site, a task or
 * an alert belongs to everybody who may see that, so nobody is above the others in it. Pure.
 */

import { shortened } from '../../shared/schema-errors.ts'
import { ALERT_ID_PATTERN } from '../alerts/alerts.ts'
import { KEY_CALLER } from '../identity/identity.ts'
import { USER_ID_PATTERN } from '../notifications/notifications.ts'
import { TASK_ID } from '../orchestration/orchestration.ts'
import {
  type Conversation,
  type ConversationKind,
  type Member,
  type SubjectKind,
  TITLE_CHARS_MAX,
} from './conversation.ts'
import { ChatError, type ChatInvalid, chatInvalid, conversationArchived } from './errors.ts'

export type ConversationAction = 'rename' | 'archive' | 'add' | 'remove' | 'role' | 'leave'

/** Who may: its owners, any member, or nobody. */
type Allowed = 'owner' | 'member' | 'nobody'

const ALLOWED: Readonly<Record<'direct' | 'group' | 'subject', Readonly<Record<ConversationAction, Allowed>>>> = {
  direct: { rename: 'nobody', archive: 'member', add: 'nobody', remove: 'nobody', role: 'nobody', leave: 'nobody' },
  group: { rename: 'owner', archive: 'owner', add: 'owner', remove: 'owner', role: 'owner', leave: 'member' },
  // Whoever is removed could come back by themselves.
  subject: { rename: 'nobody', archive: 'member', add: 'member', remove: 'nobody', role: 'nobody', leave: 'member' },
}

const WORDS: Readonly<Record<ConversationAction, string>> = {
  rename: 'gives it a title',
  archive: 'archives or reopens it',
  add: 'adds members',
  remove: 'removes members',
  role: 'gives roles',
  leave: 'leaves it',
}

/** Done also where it is archived. */
const IN_ARCHIVED: readonly ConversationAction[] = ['archive', 'leave']

const SUBJECT_IDS: Readonly<Record<SubjectKind, { readonly pattern: RegExp; readonly remedy: string }>> = {
  site: { pattern: /^[1-9]\d{0,8}$/, remedy: 'a site that you may see; GET /api/v1/sites lists them' },
  task: { pattern: TASK_ID, remedy: 'a task that you may see; GET /api/v1/tasks lists them' },
  alert: { pattern: ALERT_ID_PATTERN, remedy: 'an alert that you may see; GET /api/v1/alerts lists them' },
}

export const UNKNOWN_PERSON = 'somebody whom you may talk to; GET /api/v1/people lists them'

/** What is wrong with the action as such; who is no owner is told by `requireRole`. @throws ChatError */
export function requireAllowed({ id, kind, archivedAtMs }: Conversation, action: ConversationAction): void {
  if (allowed(kind, action) === 'nobody') throw notInThisKind(kind, action)
  if (archivedAtMs !== null && !IN_ARCHIVED.includes(action)) throw conversationArchived(id)
}

export function needsOwner(kind: ConversationKind, action: ConversationAction): boolean {
  return allowed(kind, action) === 'owner'
}

export function ownerOnly(action: ConversationAction): ChatError {
  return new ChatError('FORBIDDEN', `In this conversation an owner ${WORDS[action]}.`, {
    code: 'CONVERSATION_OWNER_ONLY',
    hint: 'Ask one of its owners; GET …/members says who they are.',
  })
}

/**
 * Who is to become owner since nobody is who is still there: the person who joined first, a program only where there is no
 * person; null while there is an owner, and of nobody.
 * @param gone members who cannot be there any more.
 */
export function successor(
  members: readonly Pick<Member, 'userId' | 'role' | 'joinedAtMs'>[],
  gone: ReadonlySet<string>,
): string | null {
  if (members.some(({ userId, role }) => role === 'owner' && !gone.has(userId))) return null
  const rank = ({ userId }: Pick<Member, 'userId'>) => (gone.has(userId) ? 2 : 0) + (isProgram(userId) ? 1 : 0)
  const [first] = members.toSorted(
    (a, b) => rank(a) - rank(b) || a.joinedAtMs - b.joinedAtMs || (a.userId < b.userId ? -1 : 1),
  )
  // An owner who is gone stays one where nobody could follow.
  return first === undefined || first.role === 'owner' ? null : first.userId
}

export function isProgram(userId: string): boolean {
  return userId.startsWith(KEY_CALLER)
}

/** @throws ChatError INVALID_INPUT */
export function checkTitle(title: string): void {
  const sound = title.trim() === title && title.isWellFormed() && !/\p{Cc}/u.test(title)
  if (sound && title.length >= 1 && title.length <= TITLE_CHARS_MAX) return
  const remedy = `1 to ${TITLE_CHARS_MAX} characters on one line, without blanks at either end`
  throw chatInvalid([{ pointer: '/title', value: shortened(title), remedy }])
}

/** Each of them once, without `self`. @throws ChatError INVALID_INPUT, MEMBERS_MAX */
export function checkUserIds(userIds: readonly string[], self: string, membersMax: number): string[] {
  const others = new Set(userIds)
  others.delete(self)
  if (others.size > membersMax - 1) throw tooManyMembers(membersMax)
  const wrong = userIds.flatMap((value, i): ChatInvalid[] => {
    return USER_ID_PATTERN.test(value)
      ? []
      : [{ pointer: `/userIds/${i}`, value: shortened(value), remedy: UNKNOWN_PERSON }]
  })
  if (wrong.length > 0) throw chatInvalid(wrong)
  return [...others]
}

/** As `checkUserIds` has left them. @param remedy what they may be. @throws ChatError INVALID_INPUT */
export function refuseUsers(given: readonly string[], wrong: readonly string[], remedy: string): void {
  if (wrong.length === 0) return
  throw chatInvalid(wrong.map((value) => ({ pointer: `/userIds/${given.indexOf(value)}`, value, remedy })))
}

/** @throws ChatError INVALID_INPUT */
export function checkSubjectId(kind: SubjectKind, id: string): void {
  if (!SUBJECT_IDS[kind].pattern.test(id)) throw subjectUnknown(kind, id)
}

/** The same whether there is none or it may not be seen. */
export function subjectUnknown(kind: SubjectKind, id: string): ChatError {
  return chatInvalid([{ pointer: '/subjectId', value: shortened(id), remedy: SUBJECT_IDS[kind].remedy }])
}

export function tooManyMembers(max: number): ChatError {
  return new ChatError('CONFLICT', `A conversation has ${max} members at most.`, {
    code: 'MEMBERS_MAX',
    hint: 'Remove somebody first; the setting is chat.membersMax.',
  })
}

export function tooManyConversations(userId: string, max: number): ChatError {
  return new ChatError('CONFLICT', `${userId} is in ${max} conversations, and can be in no more.`, {
    code: 'CONVERSATIONS_MAX',
    hint: 'Leave those that are over; the setting is chat.conversationsMax.',
  })
}

export function memberUnknown(userId: string): ChatError {
  return new ChatError('NOT_FOUND', `${userId} is not in this conversation.`, {
    code: 'MEMBER_UNKNOWN',
    hint: 'GET …/members lists who is.',
  })
}

export function lastOwner(userId: string): ChatError {
  return new ChatError('CONFLICT', `${userId} is the last owner of this conversation.`, {
    code: 'CONVERSATION_LAST_OWNER',
    hint: 'Make somebody else an owner first.',
  })
}

export function personRequired(): ChatError {
  return new ChatError('FORBIDDEN', 'Only a person begins a conversation, or owns one.', {
    code: 'PERSON_REQUIRED',
    hint: 'A program takes part in groups to which a person has added it.',
  })
}

function notInThisKind(kind: ConversationKind, action: ConversationAction): ChatError {
  if (action === 'rename') {
    const remedy = `left out: the title follows ${kind === 'direct' ? 'whom it is with' : `the ${kind}`}`
    return chatInvalid([{ pointer: '/title', remedy }])
  }
  const where = kind === 'direct' ? 'between two people' : `about ${kind === 'alert' ? 'an' : 'a'} ${kind}`
  return new ChatError('CONFLICT', `In a conversation ${where} nobody ${WORDS[action]}.`, {
    code: 'CONVERSATION_KIND',
    hint:
      kind === 'direct' ? 'Begin a group instead, or archive it.' : 'Who may see it may be in it; anybody can leave.',
  })
}

function allowed(kind: ConversationKind, action: ConversationAction): Allowed {
  return ALLOWED[kind === 'direct' || kind === 'group' ? kind : 'subject'][action]
}
