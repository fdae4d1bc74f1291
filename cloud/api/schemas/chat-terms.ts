/** Names and numbers that conversations, their messages and the frames and topics of both have in common. */

import { Type } from '@sinclair/typebox'
import {
  CLIENT_MESSAGE_ID_PATTERN,
  CONVERSATION_ID_PATTERN,
  MEMBER_ROLES,
  MESSAGE_ID_PATTERN,
} from '../../chat/chat.ts'

export const ConversationIdSchema = Type.String({
  pattern: CONVERSATION_ID_PATTERN.source,
  description: '"conv-" and 24 hexadecimal digits',
})
export const MessageIdSchema = Type.String({
  pattern: MESSAGE_ID_PATTERN.source,
  description: '"msg-" and 24 hexadecimal digits',
})
export const ClientMessageIdSchema = Type.String({
  pattern: CLIENT_MESSAGE_ID_PATTERN.source,
  description: '1 to 64 letters, digits, ".", "_", ":" or "-", such as a UUID',
})
export const PositionSchema = Type.Integer({
  minimum: 1,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'Its place in the conversation, the same for everyone; never changes',
})
export const RevisionSchema = Type.Integer({
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'The number of the last change: every change of a conversation takes the next one, without a gap',
})
/** How far a message has come once the bus has it. */
export const ReachedStatusSchema = Type.Union([Type.Literal('SENT'), Type.Literal('DELIVERED'), Type.Literal('READ')])
/** What became of a message. */
export const MessageChangeSchema = Type.Union([
  Type.Literal('created'),
  Type.Literal('edited'),
  Type.Literal('deleted'),
])
/** Of a member. */
export const MarkSchema = Type.Integer({
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
  description: 'Everything up to that position; never goes back',
})
export const MemberRoleSchema = Type.Union(
  MEMBER_ROLES.map((role) => Type.Literal(role)),
  { description: 'An owner of a group names, archives, adds, removes and gives roles' },
)
