/** The AsyncAPI 3.0 document: the live channels of the WebSocket and the topics of the bus. */

import type { TSchema } from '@sinclair/typebox'
import { catalogue, DEVICE_STATUS, DEVICE_TELEMETRY, deadLetterTopicOf, type TopicSpec } from '../../bus/catalogue.ts'
import {
  DeadLetterSchema,
  DeviceStatusChangeSchema,
  DeviceTelemetrySchema,
  RECORD_HEADERS_SCHEMA,
} from '../messages/device-events.ts'
import { CHANNEL_NAMES, CHANNELS } from '../socket/channels.ts'
import { CLIENT_FRAMES, SERVER_FRAMES } from '../socket/frames.ts'
import { type Json, SchemaCollection } from './json-schema.ts'

type JsonObject = { [member: string]: Json }

/** Values by topic; a topic without one belongs to a service that publishes its own. */
const VALUES: Readonly<Record<string, TSchema>> = {
  [DEVICE_TELEMETRY]: DeviceTelemetrySchema,
  [DEVICE_STATUS]: DeviceStatusChangeSchema,
  [deadLetterTopicOf(DEVICE_TELEMETRY)]: DeadLetterSchema,
  [deadLetterTopicOf(DEVICE_STATUS)]: DeadLetterSchema,
}

export const WEBSOCKET_PATH = '/api/v1/ws'

export function asyncApiDocument(version: string): JsonObject {
  const collection = new SchemaCollection()
  const messages: JsonObject = {}
  const channels: JsonObject = { websocket: websocketChannel(collection, messages) }
  const operations: JsonObject = {
    receiveFrames: { action: 'receive', channel: { $ref: '#/channels/websocket' }, messages: frameRefs(CLIENT_FRAMES) },
    sendFrames: { action: 'send', channel: { $ref: '#/channels/websocket' }, messages: frameRefs(SERVER_FRAMES) },
  }
  for (const spec of catalogue()) {
    const name = spec.topic.replaceAll(/[^A-Za-z0-9]/g, '_')
    channels[name] = topicChannel(spec, collection, messages)
    operations[`publish_${name}`] = { action: 'send', channel: { $ref: `#/channels/${name}` } }
  }
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Busbar',
      version,
      description:
        'Live channels over one WebSocket, and the topics of the bus. Delivery on the bus is at least once: ' +
        'the headers gateway, epoch and seq of a duplicate are the same.',
    },
    defaultContentType: 'application/json',
    channels,
    operations,
    components: { messages, schemas: collection.schemas },
  }
}

function websocketChannel(collection: SchemaCollection, messages: JsonObject): JsonObject {
  const refs: JsonObject = {}
  for (const [name, schema] of Object.entries({ ...CLIENT_FRAMES, ...SERVER_FRAMES })) {
    messages[name] = { name, payload: collection.use(schema), ...summary(schema) }
    refs[name] = { $ref: `#/components/messages/${name}` }
  }
  const live: JsonObject = {}
  for (const name of CHANNEL_NAMES) {
    const { topic, summary, permission } = CHANNELS[name]
    live[name] = { topic, summary, 'x-permission': permission === 'none' ? 'none' : { ...permission } }
  }
  return {
    address: WEBSOCKET_PATH,
    description: 'JSON objects in text frames. Subscribe to a channel with a filter; events follow until unsubscribed.',
    messages: refs,
    bindings: { ws: { method: 'GET' } },
    'x-channels': live,
  }
}

function topicChannel(spec: TopicSpec, collection: SchemaCollection, messages: JsonObject): JsonObject {
  const { topic, key, partitions, retentionMs, groups, producers } = spec
  const schema = VALUES[topic]
  const refs: JsonObject = {}
  if (schema !== undefined) {
    const name = schema.$id as string
    messages[name] ??= {
      name,
      payload: collection.use(schema),
      headers: collection.use(RECORD_HEADERS_SCHEMA),
      ...summary(schema),
      bindings: { kafka: { key: { type: 'string', description: key } } },
    }
    refs[name] = { $ref: `#/components/messages/${name}` }
  }
  return {
    address: topic,
    description: `Key: ${key}. Produced by ${producers.join(', ')}. Consumer groups: ${groups.join(', ') || 'none'}.`,
    messages: refs,
    bindings: { kafka: { topic, partitions, topicConfiguration: { 'retention.ms': retentionMs } } },
  }
}

function frameRefs(frames: Readonly<Record<string, TSchema>>): Json[] {
  return Object.keys(frames).map((name) => ({ $ref: `#/channels/websocket/messages/${name}` }))
}

function summary(schema: TSchema): JsonObject {
  return schema.description === undefined ? {} : { summary: schema.description }
}
