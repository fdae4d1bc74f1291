/** The frames of the WebSocket, both ways. All are JSON objects in text frames and have a `type`. */

import { type Static, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { SERIAL_NUMBER_PATTERN } from '../../../shared/mqtt-topics.ts'
import { inputErrors } from '../http/validation.ts'
import { CHANNEL_NAMES, type Channel } from './channels.ts'

const closed = { additionalProperties: false }
const FrameId = Type.String({ minLength: 1, maxLength: 64, description: "The client's own name for it" })
const ChannelSchema = Type.Union(CHANNEL_NAMES.map((name) => Type.Literal(name)))

/** One criterion at most; `{}` is everything. */
export const FilterSchema = Type.Object(
  {
    siteId: Type.Optional(Type.Integer({ minimum: 1 })),
    deviceId: Type.Optional(Type.Integer({ minimum: 1 })),
    serialNumber: Type.Optional(
      Type.String({
        pattern: SERIAL_NUMBER_PATTERN.source,
        description: '1 to 64 letters, digits, ".", "_", ":" or "-"; two sites may have the same',
      }),
    ),
  },
  { ...closed, maxProperties: 1, description: 'One of siteId, deviceId, serialNumber; {} for everything' },
)
export type Filter = Static<typeof FilterSchema>

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
export const CLIENT_FRAMES = { subscribe: SubscribeFrame, unsubscribe: UnsubscribeFrame, ping: PingFrame } as const

export type ClientFrame =
  | (Static<typeof SubscribeFrame> & { channel: Channel })
  | Static<typeof UnsubscribeFrame>
  | Static<typeof PingFrame>

export const SERVER_FRAMES = {
  subscribed: Type.Object(
    { type: Type.Literal('subscribed'), id: FrameId },
    { $id: 'Subscribed', description: 'Every event that the bus takes in after this frame will follow' },
  ),
  unsubscribed: Type.Object({ type: Type.Literal('unsubscribed'), id: FrameId }, { $id: 'Unsubscribed' }),
  pong: Type.Object({ type: Type.Literal('pong'), id: Type.Optional(FrameId) }, { $id: 'Pong' }),
  error: Type.Object(
    {
      type: Type.Literal('error'),
      id: Type.Union([FrameId, Type.Null()], { description: 'Of the frame at fault, null when it has none' }),
      code: Type.String(),
      message: Type.String(),
      hint: Type.Optional(Type.String()),
    },
    { $id: 'Error', description: 'The frame of this id had no effect' },
  ),
  event: Type.Object(
    {
      type: Type.Literal('event'),
      channel: ChannelSchema,
      data: Type.Object({}, { description: 'The value as published on the topic of the channel' }),
      gateway: Type.Optional(Type.String()),
      seq: Type.Optional(Type.Integer({ description: 'With gateway: the same pair is the same record, sent again' })),
      backfill: Type.Optional(Type.Literal(true, { description: 'It waited through an outage' })),
    },
    { $id: 'Event', description: 'One event; a client that subscribed in several ways that match gets it once' },
  ),
  missed: Type.Object(
    { type: Type.Literal('missed'), channel: ChannelSchema, count: Type.Integer({ minimum: 1 }) },
    { $id: 'Missed', description: 'The client read too slowly: so many events of the channel were left out here' },
  ),
} as const

export type FrameErrorCode =
  | 'FRAME_INVALID'
  | 'SUBSCRIPTION_EXISTS'
  | 'SUBSCRIPTION_UNKNOWN'
  | 'SUBSCRIPTIONS_MAX'
  | 'BUS_UNAVAILABLE'

export type ParsedFrame =
  | { readonly frame: ClientFrame }
  | { readonly id: string | null; readonly message: string; readonly hint: string }

const CHECKERS = {
  subscribe: TypeCompiler.Compile(SubscribeFrame),
  unsubscribe: TypeCompiler.Compile(UnsubscribeFrame),
  ping: TypeCompiler.Compile(PingFrame),
}

/** A frame as sent, or what is wrong with it. */
export function parseFrame(text: string | Uint8Array): ParsedFrame {
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
  const known = Object.keys(CHECKERS).join(', ')
  if (typeof type !== 'string' || !Object.hasOwn(CHECKERS, type)) {
    return refuse(knownId, 'the frame has no known type', `type may be one of ${known}.`)
  }
  const checker = CHECKERS[type as keyof typeof CHECKERS]
  if (checker.Check(value)) return { frame: value as ClientFrame }
  const errors = inputErrors(checker, value, 'body')
  return refuse(
    knownId,
    `the ${type} frame is not allowed at ${errors.map(({ pointer }) => pointer).join(', ')}`,
    errors.map(({ pointer, remedy }) => `${pointer}: ${remedy}`).join('; '),
  )
}

/** A subscription's filter as a key: an event belongs to at most four, one for each way to ask for it. */
export function filterKey(filter: Filter): string {
  if (filter.siteId !== undefined) return `site/${filter.siteId}`
  if (filter.deviceId !== undefined) return `device/${filter.deviceId}`
  if (filter.serialNumber !== undefined) return `serial/${filter.serialNumber}`
  return 'all'
}
