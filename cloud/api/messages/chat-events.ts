/** The values of `chat-messages`, `message-status-events` and `typing-events`: the contract with whoever reads the topics. */

import { Type } from '@sinclair/typebox'
import { MESSAGE_MEMBERS } from '../schemas/chat-message.ts'
import {
  ConversationIdSchema,
  MessageChangeSchema,
  MessageIdSchema,
  PositionSchema,
  ReachedStatusSchema,
} from '../schemas/chat-terms.ts'
import { nullable, TimeSchema } from '../schemas/common.ts'
import { PersonIdSchema } from '../schemas/person.ts'

// Open objects: a message may carry more members than these, never fewer.

const RecipientIdsSchema = Type.Array(PersonIdSchema, { description: 'Who is told of it at once' })

export const ChatMessageRecordSchema = Type.Object(
  {
    ...MESSAGE_MEMBERS,
    recipientId: nullable({ ...PersonIdSchema, description: 'In a conversation of two the other one; null in others' }),
    recipientIds: RecipientIdsSchema,
  },
  {
    $id: 'ChatMessageRecord',
    description:
      'A message came, was edited or deleted, or something happened in the conversation; one that comes twice has the ' +
      'same messageId and revision',
  },
)

export const MessageStatusRecordSchema = Type.Object(
  {
    messageId: { ...MessageIdSchema, description: 'The newest message that it says something of' },
    conversationId: ConversationIdSchema,
    status: ReachedStatusSchema,
    userId: { ...PersonIdSchema, description: 'Who sent it, has got it, or has read it' },
    timestamp: TimeSchema,
    position: { ...PositionSchema, description: 'Everything of the conversation up to there has come so far' },
    recipientIds: RecipientIdsSchema,
  },
  { $id: 'MessageStatusRecord', description: 'How far messages have come; a status never goes back' },
)

export const TypingRecordSchema = Type.Object(
  {
    conversationId: ConversationIdSchema,
    userId: PersonIdSchema,
    isTyping: Type.Boolean(),
    timestamp: Type.Integer({ minimum: 0, description: 'Unix milliseconds' }),
    recipientIds: RecipientIdsSchema,
  },
  { $id: 'TypingRecord', description: 'Somebody is typing, or has stopped; it expires by itself' },
)

export const CHAT_HEADERS_SCHEMA = Type.Object(
  {
    source: Type.Optional(Type.String({ description: 'Which service wrote it' })),
    event: Type.Optional({
      ...MessageChangeSchema,
      description: 'What became of a message; absent of other records',
    }),
  },
  { $id: 'ChatHeaders', description: 'Headers of a record of conversations' },
)
