/** The frames of conversations, both ways, and the events of the channel `chat`. */

import { type Static, Type } from '@sinclair/typebox'
import { MESSAGE_STATUSES, PRESENCE_STATES } from '../../../chat/chat.ts'
import { MESSAGE_MEMBERS } from '../../schemas/chat-message.ts'
import {
  ClientMessageIdSchema,
  ConversationIdSchema,
  MessageChangeSchema,
  ReachedStatusSchema,
} from '../../schemas/chat-terms.ts'
import { closed, nullable, TimeSchema } from '../../schemas/common.ts'
import { UserIdSchema } from '../../schemas/notification.ts'
import { FrameId } from '../frame-id.ts'
import { RESUME_ANSWER_MS, RESUME_MAX } from './chat-limits.ts'

/** A position or revision: where somebody is in a conversation. */
const PlaceSchema = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const StatusSchema = Type.Union(MESSAGE_STATUSES.map((status) => Type.Literal(status)))
const actor = {
  userId: Type.Optional({
    ...UserIdSchema,
    description:
      'Who does this: whoever is logged in; where nobody logs in, by default the one of the subscription to chat',
  }),
}
const frame = <Name extends string>(type: Name) => ({ type: Type.Literal(type), id: FrameId })

// What a message may be is said where it is stored, by the value at fault.
const ChatSendFrame = Type.Object(
  {
    ...frame('chat.send'),
    conversationId: ConversationIdSchema,
    clientMessageId: ClientMessageIdSchema,
    content: Type.String({ description: 'Shown as it is, never as markup; see POST …/messages for its limits' }),
    links: Type.Optional(
      Type.Array(Type.Object({ url: Type.String(), name: Type.Optional(nullable(Type.String())) }, closed)),
    ),
    mentions: Type.Optional(Type.Array(Type.String(), { description: 'People in the conversation' })),
    ...actor,
  },
  {
    ...closed,
    $id: 'ChatSend',
    description: 'Says something. Sent again with the same clientMessageId it is answered again, and said once',
  },
)
const ChatReadFrame = Type.Object(
  { ...frame('chat.read'), conversationId: ConversationIdSchema, position: PlaceSchema, ...actor },
  { ...closed, $id: 'ChatRead', description: 'Everything up to this position is read; answered by chat.done' },
)
const ChatTypingFrame = Type.Object(
  {
    type: Type.Literal('chat.typing'),
    id: Type.Optional(FrameId),
    conversationId: ConversationIdSchema,
    isTyping: Type.Boolean(),
    ...actor,
  },
  {
    ...closed,
    $id: 'ChatTyping',
    description:
      'Says that somebody is typing; to be said again every few seconds. Answered by chat.done if it has an id',
  },
)
const ChatResumeFrame = Type.Object(
  {
    ...frame('chat.resume'),
    marks: Type.Record(ConversationIdSchema, PlaceSchema, {
      ...closed,
      maxProperties: RESUME_MAX,
      description: 'By conversation, the highest revision of a message event that the client has got',
    }),
  },
  {
    ...closed,
    $id: 'ChatResume',
    description:
      'Asks for what was missed: every change after these revisions, in order, each once, and then what comes. To be sent ' +
      'right behind the subscription, with {} by a client that has nothing; answered by chat.resumed',
  },
)
const ChatStateFrame = Type.Object(
  { ...frame('chat.state'), state: Type.Union([Type.Literal('online'), Type.Literal('away')]) },
  { ...closed, $id: 'ChatState', description: 'Whether somebody is at this socket; answered by chat.done' },
)

export const CHAT_CLIENT_FRAMES = {
  'chat.send': ChatSendFrame,
  'chat.read': ChatReadFrame,
  'chat.typing': ChatTypingFrame,
  'chat.resume': ChatResumeFrame,
  'chat.state': ChatStateFrame,
} as const

export type ChatResume = Static<typeof ChatResumeFrame>
export type ChatFrame = Static<(typeof CHAT_CLIENT_FRAMES)[keyof typeof CHAT_CLIENT_FRAMES]>

export const CHAT_SERVER_FRAMES = {
  'chat.sent': Type.Object(
    {
      ...frame('chat.sent'),
      conversationId: ConversationIdSchema,
      messageId: MESSAGE_MEMBERS.messageId,
      position: PlaceSchema,
      sentAt: TimeSchema,
      status: StatusSchema,
    },
    {
      $id: 'ChatSent',
      description:
        'The message is stored. It also comes as an event, to every socket of the sender, this one included, before or after ' +
        'this answer; messageId says that it is the same',
    },
  ),
  'chat.done': Type.Object(frame('chat.done'), { $id: 'ChatDone' }),
  'chat.resumed': Type.Object(
    {
      ...frame('chat.resumed'),
      more: Type.Array(ConversationIdSchema, {
        description:
          `Of these the missed events are still coming after ${RESUME_ANSWER_MS / 1000} s. They come by themselves; resume again ` +
          'to be told when they have',
      }),
      unknown: Type.Array(ConversationIdSchema, { description: 'The user is not in these, or not any more' }),
    },
    { $id: 'ChatResumed', description: 'What was missed has been sent' },
  ),
} as const

const event = <Name extends string>(name: Name) => ({ event: Type.Literal(name) })

const MessageEventSchema = Type.Object(
  {
    ...event('message'),
    change: MessageChangeSchema,
    ...MESSAGE_MEMBERS,
    status: Type.Optional({
      ...StatusSchema,
      description: "Of the user's own, when it is known here; never goes back",
    }),
  },
  {
    $id: 'ChatMessageEvent',
    description:
      'A message came, or what has become of it. Each change of a conversation comes once, in the order of revision; of one ' +
      'that was missed the last change alone, as the whole message. position says where it is shown',
  },
)
const StatusEventSchema = Type.Object(
  {
    ...event('status'),
    messageId: MESSAGE_MEMBERS.messageId,
    conversationId: ConversationIdSchema,
    status: ReachedStatusSchema,
    userId: { ...UserIdSchema, description: 'To whom it came, or who has read it; of SENT the sender' },
    timestamp: TimeSchema,
    position: PlaceSchema,
  },
  { $id: 'ChatStatusEvent', description: 'Everything of the conversation up to position has come so far' },
)
const TypingEventSchema = Type.Object(
  { ...event('typing'), conversationId: ConversationIdSchema, userId: UserIdSchema, isTyping: Type.Boolean() },
  { $id: 'ChatTypingEvent', description: 'That somebody has stopped is said too, also when they only fell silent' },
)
const PresenceEventSchema = Type.Object(
  {
    ...event('presence'),
    userId: UserIdSchema,
    state: Type.Union(PRESENCE_STATES.map((state) => Type.Literal(state))),
    lastSeenAt: nullable(TimeSchema),
  },
  { $id: 'ChatPresenceEvent', description: 'Of people with whom the user shares a conversation that is not too large' },
)
const ConversationEventSchema = Type.Object(
  {
    ...event('conversation'),
    conversationId: ConversationIdSchema,
    change: Type.Union([Type.Literal('joined'), Type.Literal('left')]),
    revision: {
      ...PlaceSchema,
      description: 'Of joined: changes after it come as events, those before are its history',
    },
  },
  { $id: 'ChatConversationEvent', description: 'The user is in a conversation now, or is not any more' },
)

export const ChatEventSchema = Type.Union(
  [MessageEventSchema, StatusEventSchema, TypingEventSchema, PresenceEventSchema, ConversationEventSchema],
  { $id: 'ChatEvent', description: 'Told apart by `event`' },
)
