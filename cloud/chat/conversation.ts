/** Conversations and their members: what they are, and how they are named. Pure. */

import { createHash } from 'node:crypto'
import { type Random, randomHex } from '../../shared/random.ts'

/** `site`, `task` and `alert` are about one of those; their title and link follow it. */
export const CONVERSATION_KINDS = ['direct', 'group', 'site', 'task', 'alert'] as const
export type ConversationKind = (typeof CONVERSATION_KINDS)[number]

export const SUBJECT_KINDS = ['site', 'task', 'alert'] as const satisfies readonly ConversationKind[]
export type SubjectKind = (typeof SUBJECT_KINDS)[number]

export const MEMBER_ROLES = ['owner', 'member'] as const
/** An owner names, archives, adds and removes. */
export type MemberRole = (typeof MEMBER_ROLES)[number]

export const CONVERSATION_ID_PATTERN = /^conv-[0-9a-f]{24}$/
export const TITLE_CHARS_MAX = 200

/** What a conversation is about. */
export interface Subject {
  readonly kind: SubjectKind
  /** As text: of a site its number. */
  readonly id: string
}

/** As it is stored. Times are Unix milliseconds. */
export interface Conversation {
  readonly id: string
  readonly kind: ConversationKind
  /** Null where it follows the subject, or whom it is with. */
  readonly title: string | null
  readonly subject: Subject | null
  /** The number of its last change: messages, edits, deletions and notices take one after the other, without a gap. */
  readonly lastRevision: number
  readonly lastMessageAtMs: number | null
  readonly createdBy: string
  readonly createdAtMs: number
  readonly updatedAtMs: number
  readonly archivedAtMs: number | null
  readonly archivedBy: string | null
}

export interface Member {
  readonly conversationId: string
  readonly userId: string
  readonly role: MemberRole
  readonly joinedAtMs: number
  /** Null while they are in it. */
  readonly leftAtMs: number | null
  /** Everything up to these positions is read, and delivered; neither ever goes back. */
  readonly readPosition: number
  readonly deliveredPosition: number
  readonly readAtMs: number | null
  readonly deliveredAtMs: number | null
}

/** By which maps know a member of a conversation. */
export function memberKey({ conversationId, userId }: Pick<Member, 'conversationId' | 'userId'>): string {
  return `${conversationId}/${userId}`
}

export function newGroupId(random: Random): string {
  return `conv-${randomHex(random, 12)}`
}

/** Two people have one, whoever of them begins it. */
export function directId(one: string, other: string): string {
  return derivedId(['direct', ...[one, other].sort()])
}

export function subjectConversationId({ kind, id }: Subject): string {
  return derivedId([kind, id])
}

function derivedId(parts: readonly string[]): string {
  return `conv-${createHash('sha256').update(parts.join('\0')).digest('hex').slice(0, 24)}`
}

/** As rows have it; null of what is about nothing. */
export function subjectOf(kind: string, id: string | null): Subject | null {
  const isSubject = (SUBJECT_KINDS as readonly string[]).includes(kind)
  return isSubject && id !== null ? { kind: kind as SubjectKind, id } : null
}
