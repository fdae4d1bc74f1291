/** A message of a conversation as the API shows and takes it; its members are named as on the topic. */

import { type Static, Type } from '@sinclair/typebox'
import {
  LINK_NAME_CHARS_MAX,
  LINK_URL_CHARS_MAX,
  MESSAGE_STATUSES,
  type Message,
  type MessageTrace,
  NOTICE_ACTIONS,
  type ShownMessage,
} from '../../chat/chat.ts'
import {
  ClientMessageIdSchema,
  ConversationIdSchema,
  MarkSchema,
  MemberRoleSchema,
  MessageIdSchema,
  PositionSchema,
  ReachedStatusSchema,
  RevisionSchema,
} from './chat-terms.ts'
import { closed, nullable, pageSchema, TimeSchema, time, timeOrNull } from './common.ts'
import { DoerSchema, PersonIdSchema } from './person.ts'

/** The most that is looked at; the settings of [chat] are lower or the same. */
const CONTENT_CHARS_MAX = 16_000
const LINKS_MAX = 100
const MENTIONS_MAX = 1_000

const MessageKindSchema = Type.Union([Type.Literal('MESSAGE'), Type.Literal('NOTICE')], {
  description: 'NOTICE: something happened in the conversation, which nobody wrote',
})
const StatusSchema = Type.Union(
  MESSAGE_STATUSES.map((status) => Type.Literal(status)),
  { description: 'PENDING waits for the bus; DELIVERED and READ by everybody else who is in the conversation' },
)

const ChatLinkSchema = Type.Object(
  {
    url: Type.String({ description: `http or https, at most ${LINK_URL_CHARS_MAX} characters; where it lies` }),
    name: nullable(Type.String({ description: `At most ${LINK_NAME_CHARS_MAX} characters` })),
  },
  { ...closed, $id: 'ChatLink', description: 'An attachment, which lies elsewhere' },
)
const ChatLinksSchema = Type.Array(ChatLinkSchema)
const ChatMentionsSchema = Type.Array(PersonIdSchema)

const ChatNoticeSchema = Type.Object(
  {
    action: Type.Union(NOTICE_ACTIONS.map((action) => Type.Literal(action))),
    userIds: Type.Optional(
      Type.Array(PersonIdSchema, { description: 'Whom it was done to, unless that is who did it' }),
    ),
    title: Type.Optional(Type.String()),
    role: Type.Optional(MemberRoleSchema),
  },
  { $id: 'ChatNotice', description: 'What happened in a conversation besides what was said; senderId did it' },
)

/** What the topic and the API have in common. */
export const MESSAGE_MEMBERS = {
  conversationId: ConversationIdSchema,
  messageId: MessageIdSchema,
  senderId: PersonIdSchema,
  sentAt: TimeSchema,
  kind: MessageKindSchema,
  position: PositionSchema,
  revision: RevisionSchema,
  content: Type.String({ description: 'Text, never markup; empty of a notice, and once it is deleted' }),
  clientMessageId: nullable({ ...ClientMessageIdSchema, description: "The sender's own name for it" }),
  links: ChatLinksSchema,
  mentions: ChatMentionsSchema,
  notice: nullable(ChatNoticeSchema),
  editedAt: nullable(TimeSchema),
  deletedAt: nullable(TimeSchema),
}

/** As it is for everybody. */
export const LastMessageSchema = Type.Object(
  { ...MESSAGE_MEMBERS, deletedBy: nullable(PersonIdSchema) },
  { ...closed, $id: 'LastChatMessage' },
)

export const ChatMessageSchema = Type.Object(
  {
    ...MESSAGE_MEMBERS,
    deletedBy: nullable(PersonIdSchema),
    status: Type.Union([...StatusSchema.anyOf, Type.Null()], {
      description: `Of one's own messages, null of others. ${StatusSchema.description}`,
    }),
  },
  { ...closed, $id: 'ChatMessage', description: 'A message of a conversation, or a notice of what happened in it' },
)

export const MessagePageSchema = Type.Object(
  {
    ...pageSchema(ChatMessageSchema).properties,
    revision: Type.Optional({
      ...RevisionSchema,
      description: 'With `after`: everything that happened up to there is in this page and those before',
    }),
  },
  closed,
)

const NewLinkSchema = Type.Object(
  {
    url: Type.String({ minLength: 1, maxLength: LINK_URL_CHARS_MAX, description: 'http or https, without a password' }),
    name: Type.Optional(nullable(Type.String({ minLength: 1, maxLength: LINK_NAME_CHARS_MAX }))),
  },
  { ...closed, $id: 'NewChatLink' },
)
const TEXT_MEMBERS = {
  content: Type.String({
    minLength: 1,
    maxLength: CONTENT_CHARS_MAX,
    description: 'Shown as it is, never as markup; at most chat.contentCharsMax characters, which is 4,000 by default',
  }),
  links: Type.Optional(
    Type.Array(NewLinkSchema, { maxItems: LINKS_MAX, description: 'At most chat.linksMax, which is 10 by default' }),
  ),
  mentions: Type.Optional(
    Type.Array(PersonIdSchema, {
      maxItems: MENTIONS_MAX,
      description: 'People in the conversation; at most chat.mentionsMax, which is 50 by default',
    }),
  ),
  userId: Type.Optional(DoerSchema),
}

export const NewChatMessageSchema = Type.Object(
  {
    clientMessageId: Type.Optional({
      ...ClientMessageIdSchema,
      description:
        `${ClientMessageIdSchema.description}. The sender's own name for the message: what is sent again with it is stored once; ` +
        'absent for one that is not sent again',
    }),
    ...TEXT_MEMBERS,
  },
  { ...closed, $id: 'NewChatMessage' },
)
export const MessageEditSchema = Type.Object(TEXT_MEMBERS, {
  ...closed,
  $id: 'ChatMessageEdit',
  description: 'What the message says from now on; links and mentions that are left out stay as they are',
})

export const MessageTraceSchema = Type.Object(
  {
    content: Type.String(),
    links: ChatLinksSchema,
    mentions: ChatMentionsSchema,
    replacedAt: TimeSchema,
    replacedBy: PersonIdSchema,
    replacedByRevision: RevisionSchema,
  },
  { ...closed, $id: 'ChatMessageTrace', description: 'What a message said before it was edited or deleted' },
)

export const ReceiptSchema = Type.Object(
  {
    userId: PersonIdSchema,
    status: { ...ReachedStatusSchema, description: 'SENT: it has not come to them yet' },
  },
  { ...closed, $id: 'ChatReceipt', description: 'How far a message has come with one member' },
)

export const ReadMarkSchema = Type.Object(
  {
    position: {
      ...PositionSchema,
      minimum: 0,
      description:
        'Everything up to there is read; a lower one than before changes nothing, a higher one than the last means the last',
    },
    userId: Type.Optional(DoerSchema),
  },
  { ...closed, $id: 'NewReadMark' },
)
export const MarksSchema = Type.Object(
  {
    conversationId: ConversationIdSchema,
    userId: PersonIdSchema,
    readPosition: MarkSchema,
    deliveredPosition: MarkSchema,
  },
  { ...closed, $id: 'ReadMark', description: 'How far somebody has come in a conversation; never goes back' },
)

export function messageBody({ message, status }: ShownMessage): Static<typeof ChatMessageSchema> {
  return { ...lastMessageBody(message), status }
}

export function lastMessageBody(message: Message): Static<typeof LastMessageSchema> {
  const { id, conversationId, senderId, kind, position, revision, content, clientMessageId, deletedBy } = message
  return {
    ...{ conversationId, messageId: id, senderId, sentAt: time(message.sentAtMs), kind, position, revision, content },
    ...{ clientMessageId, links: [...message.links], mentions: [...message.mentions] },
    notice: message.notice as Static<typeof ChatNoticeSchema> | null,
    ...{ editedAt: timeOrNull(message.editedAtMs), deletedAt: timeOrNull(message.deletedAtMs), deletedBy },
  }
}

export function traceBody(trace: MessageTrace): Static<typeof MessageTraceSchema> {
  const { content, links, mentions, replacedAtMs, replacedBy, replacedByRevision } = trace
  return {
    ...{ content, links: [...links], mentions: [...mentions], replacedAt: time(replacedAtMs), replacedBy },
    replacedByRevision,
  }
}
