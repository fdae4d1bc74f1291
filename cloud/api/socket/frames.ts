/** The frames of the WebSocket, both ways. All are JSON objects in text frames and have a `type`. */

import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler } from '@sinclair/typebox/compiler'
import { inputErrors } from '../http/validation.ts'
import { ConversationIdSchema } from '../schemas/chat-terms.ts'
import { CHANNEL_NAMES, CHANNELS, type Channel } from './channels.ts'
import { CHAT_CLIENT_FRAMES, CHAT_SERVER_FRAMES, type ChatFrame } from './chat/chat-frames.ts'
import { criterionOf, FilterSchema } from './filter.ts'
import { FrameId } from './frame-id.ts'

const closed = { additionalProperties: false }
const ChannelSchema = Type.Union(CHANNEL_NAMES.map((name) => Type.Literal(name)))

export const SubscribeFrame = Type.Object(
  { type: Type.Literal('subscribe'), id: FrameId, channel: ChannelSchema, filter: Type.Optional(FilterSchema) },
  {
    ...closed,
    $id: 'Subscribe',
    description: 'Asks for the events of a channel from now on; id names the subscription',
  },
)
export const UnsubscribeFrame = Type.Object(
  { type: Type.Literal('unsubscribe'), id: FrameId },
  { ...closed, $id: 'Unsubscribe', description: 'Ends the subscription of this id' },
)
export const PingFrame = Type.Object(
  { type: Type.Literal('ping'), id: Type.Optional(FrameId) },
  { ...closed, $id: 'Ping', description: 'Answered by pong' },
)
export const CLIENT_FRAMES = {
  subscribe: SubscribeFrame,
  unsubscribe: UnsubscribeFrame,
  ping: PingFrame,
  ...CHAT_CLIENT_FRAMES,
} as const

export type ClientFrame =
  | (Static<typeof SubscribeFrame> & { channel: Channel })
  | Static<typeof UnsubscribeFrame>
  | Static<typeof PingFrame>
  | ChatFrame

/** Resources whose present state a new subscriber is sent. */
export const PRESENT_MAX = 100

export const SERVER_FRAMES = {
  subscribed: Type.Object(
    {
      type: Type.Literal('subscribed'),
      id: FrameId,
      marks: Type.Optional(
        Type.Record(ConversationIdSchema, Type.Integer({ minimum: 0 }), {
          description:
            'Of chat: the last revision of each conversation that the user is in. Who was connected before resumes those ' +
            'in which they have seen less, and from 0 those that are new to them',
        }),
      ),
    },
    {
      $id: 'Subscribed',
      description:
        'Every event from now on will follow. On channels of resources the present state of what the filter names comes ' +
        `first, the newest ${PRESENT_MAX} at most`,
    },
  ),
  unsubscribed: Type.Object({ type: Type.Literal('unsubscribed'), id: FrameId }, { $id: 'Unsubscribed' }),
  pong: Type.Object({ type: Type.Literal('pong'), id: Type.Optional(FrameId) }, { $id: 'Pong' }),
  error: Type.Object(
    {
      type: Type.Literal('error'),
      id: Type.Union([FrameId, Type.Null()], { description: 'Of the frame at fault, null when it has none' }),
      code: Type.String({
        description:
          'FRAME_INVALID, FRAME_TOO_LARGE, SUBSCRIPTION_EXISTS, SUBSCRIPTION_UNKNOWN, SUBSCRIPTIONS_MAX, BUS_UNAVAILABLE, ' +
          'RESOURCES_UNAVAILABLE, CHAT_UNAVAILABLE, CHAT_USER_FIXED, CHAT_NOT_SUBSCRIBED, RATE_LIMITED, or as the REST API ' +
          'refuses: FORBIDDEN, ROLE_MISSING, SCOPE_MISSING, INVALID_INPUT, CONVERSATION_UNKNOWN and others',
      }),
      message: Type.String(),
      hint: Type.Optional(Type.String()),
      fields: Type.Optional(
        Type.Array(
          Type.Object({ pointer: Type.String(), value: Type.Optional(Type.Unknown()), remedy: Type.String() }),
          { description: 'Values at fault, by JSON pointer into the frame' },
        ),
      ),
      retryAfterMs: Type.Optional(Type.Integer({ minimum: 1, description: 'When it may be tried again' })),
    },
    { $id: 'Error', description: 'The frame of this id had no effect' },
  ),
  ended: Type.Object(
    { type: Type.Literal('ended'), id: FrameId, code: Type.String(), message: Type.String(), hint: Type.String() },
    {
      $id: 'Ended',
      description:
        'What the caller may see has changed: the subscription of this id has ended. The others go on with what it may ' +
        'see now. When the login itself ends the socket is closed with 4401',
    },
  ),
  event: Type.Object(
    {
      type: Type.Literal('event'),
      channel: ChannelSchema,
      data: Type.Object(
        {},
        { description: 'The value as published on the topic of the channel, or the resource as the REST API shows it' },
      ),
      gateway: Type.Optional(Type.String()),
      seq: Type.Optional(Type.Integer({ description: 'With gateway: the same pair is the same record, sent again' })),
      backfill: Type.Optional(Type.Literal(true, { description: 'It waited through an outage' })),
    },
    { $id: 'Event', description: 'One event; a client that subscribed in several ways that match gets it once' },
  ),
  missed: Type.Object(
    { type: Type.Literal('missed'), channel: ChannelSchema, count: Type.Integer({ minimum: 1 }) },
    {
      $id: 'Missed',
      description:
        'The client read too slowly: so many events of the channel were left out here. Messages of conversations follow',
    },
  ),
  ...CHAT_SERVER_FRAMES,
} as const

export type ParsedFrame =
  | { readonly frame: ClientFrame }
  | {
      readonly id: string | null
      /** Default FRAME_INVALID. */
      readonly code?: string
      readonly message: string
      readonly hint: string
      readonly fields?: readonly object[]
    }

const CHECKERS: ReadonlyMap<unknown, TypeCheck<TSchema>> = new Map(
  Object.entries(CLIENT_FRAMES).map(([type, schema]) => [type, TypeCompiler.Compile<TSchema>(schema)]),
)

/** A frame as sent, or what is wrong with it. @param charsMax of one that is taken. */
export function parseFrame(text: string | Uint8Array, charsMax: number): ParsedFrame {
  const refuse = (id: string | null, message: string, hint: string) => ({ id, message, hint })
  if (typeof text !== 'string') return refuse(null, 'the frame is binary', 'Send JSON in text frames.')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return refuse(null, 'the frame is not JSON', 'Send one JSON object a frame.')
  }
  const { type, id } = (typeof value === 'object' && value !== null ? value : {}) as { type?: unknown; id?: unknown }
  const knownId = typeof id === 'string' && id.length <= 64 ? id : null
  if (text.length > charsMax) {
    const message = `the frame has ${text.length} characters, and may have ${charsMax}`
    return { ...refuse(knownId, message, 'Send less at once.'), code: 'FRAME_TOO_LARGE' }
  }
  const checker = CHECKERS.get(type)
  if (checker === undefined) {
    const known = [...CHECKERS.keys()].join(', ')
    return refuse(knownId, 'the frame has no known type', `type may be one of ${known}.`)
  }
  if (checker.Check(value)) {
    const frame = value as ClientFrame
    const misfit = frame.type === 'subscribe' ? misfitOf(frame) : null
    return misfit === null ? { frame } : refuse(knownId, 'the subscribe frame is not allowed at /filter', misfit)
  }
  const errors = inputErrors(checker, value, 'body')
  return {
    id: knownId,
    message: `the ${String(type)} frame is not allowed at ${errors.map(({ pointer }) => pointer).join(', ')}`,
    hint: errors.map(({ pointer, remedy }) => `${pointer}: ${remedy}`).join('; '),
    fields: errors.map(({ in: _, ...field }) => field),
  }
}

/** What is wrong with a filter that its channel does not have, or one that a channel of users' own does not say. */
function misfitOf({ channel, filter = {} }: { channel: Channel; filter?: Static<typeof FilterSchema> }): string | null {
  const criterion = criterionOf(filter)
  const { filters, permission } = CHANNELS[channel]
  if (criterion === null && permission !== 'none' && permission.scope === 'self') {
    return `/filter/userId: say whose; ${channel} is for one user`
  }
  if (criterion === null || filters.includes(criterion)) return null
  return `/filter/${criterion}: leave it out; ${channel} has ${filters.join(', ')}`
}
