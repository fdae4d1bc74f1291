/** The AsyncAPI 3.0 document: the live channels of the WebSocket and the topics of the bus. */

import type { TSchema } from '@sinclair/typebox'
import { UserActivityAnalyticsSchema, UserActivitySchema } from '../../activity/activity.ts'
import {
  CHAT_MESSAGES,
  COMMAND_EVENTS,
  catalogue,
  DEVICE_STATUS,
  DEVICE_TELEMETRY,
  deadLetterTopicOf,
  MESSAGE_STATUS_EVENTS,
  NOTIFICATIONS,
  ORCHESTRATOR_RESPONSES,
  TASK_REQUESTED,
  type TopicSpec,
  TYPING_EVENTS,
  USER_ACTIVITY_ANALYTICS,
  USER_ACTIVITY_LOGS,
} from '../../bus/catalogue.ts'
import { CommandCreatedSchema } from '../../commands/commands.ts'
import { ACTIVITY_HEADERS_SCHEMA } from '../messages/activity-events.ts'
import {
  CHAT_HEADERS_SCHEMA,
  ChatMessageRecordSchema,
  MessageStatusRecordSchema,
  TypingRecordSchema,
} from '../messages/chat-events.ts'
import {
  DeadLetterSchema,
  DeviceStatusChangeSchema,
  DeviceTelemetrySchema,
  RECORD_HEADERS_SCHEMA,
} from '../messages/device-events.ts'
import { NOTIFICATION_HEADERS_SCHEMA, NotificationMessageSchema } from '../messages/notification-events.ts'
import { OrchestratorResponseSchema, TaskRequestedSchema } from '../messages/task-events.ts'
import { AlertSchema } from '../schemas/alert.ts'
import { CommandSchema } from '../schemas/command.ts'
import { UnreadCountSchema } from '../schemas/notification.ts'
import { TaskSchema } from '../schemas/task.ts'
import { CHANNEL_NAMES, CHANNELS, type Channel } from '../socket/channels.ts'
import { ChatEventSchema } from '../socket/chat/chat-frames.ts'
import { CLIENT_FRAMES, SERVER_FRAMES } from '../socket/frames.ts'
import { type Json, SchemaCollection } from './json-schema.ts'
import { LIVE_SECURITY_SCHEMES } from './security.ts'

type JsonObject = { [member: string]: Json }

interface RecordSchemas {
  readonly value: TSchema
  readonly headers?: TSchema
}

const headers = RECORD_HEADERS_SCHEMA
/** Records by topic; a topic without any belongs to a service that publishes its own. */
const RECORDS: Readonly<Record<string, RecordSchemas>> = {
  [DEVICE_TELEMETRY]: { value: DeviceTelemetrySchema, headers },
  [DEVICE_STATUS]: { value: DeviceStatusChangeSchema, headers },
  // Names of components have no colons, unlike the id that the published schema has.
  [COMMAND_EVENTS]: { value: { ...CommandCreatedSchema, $id: 'CommandCreated' } },
  [TASK_REQUESTED]: { value: TaskRequestedSchema },
  [ORCHESTRATOR_RESPONSES]: { value: OrchestratorResponseSchema },
  [NOTIFICATIONS]: { value: NotificationMessageSchema, headers: NOTIFICATION_HEADERS_SCHEMA },
  [CHAT_MESSAGES]: { value: ChatMessageRecordSchema, headers: CHAT_HEADERS_SCHEMA },
  [MESSAGE_STATUS_EVENTS]: { value: MessageStatusRecordSchema, headers: CHAT_HEADERS_SCHEMA },
  [TYPING_EVENTS]: { value: TypingRecordSchema, headers: CHAT_HEADERS_SCHEMA },
  [USER_ACTIVITY_LOGS]: { value: UserActivitySchema, headers: ACTIVITY_HEADERS_SCHEMA },
  [USER_ACTIVITY_ANALYTICS]: { value: UserActivityAnalyticsSchema, headers: ACTIVITY_HEADERS_SCHEMA },
}
const CONSUMED_BY_US = new Set(Object.keys(RECORDS).map(deadLetterTopicOf))

/** What the events of a live channel carry. */
const LIVE_VALUES: Readonly<Record<Channel, TSchema>> = {
  telemetry: DeviceTelemetrySchema,
  status: DeviceStatusChangeSchema,
  commands: CommandSchema,
  tasks: TaskSchema,
  alerts: AlertSchema,
  notifications: NotificationMessageSchema,
  unread: UnreadCountSchema,
  chat: ChatEventSchema,
}

export const WEBSOCKET_PATH = '/api/v1/ws'

export function asyncApiDocument(version: string): JsonObject {
  const collection = new SchemaCollection()
  const messages: JsonObject = {}
  const channels: JsonObject = { websocket: websocketChannel(collection, messages) }
  const operations: JsonObject = {
    receiveFrames: { action: 'receive', ...overSocket(CLIENT_FRAMES) },
    sendFrames: { action: 'send', ...overSocket(SERVER_FRAMES) },
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
        'a duplicate of a device record has the same headers gateway, epoch and seq, any other the same id in its value, ' +
        'and of a message of a conversation the same revision.',
    },
    defaultContentType: 'application/json',
    channels,
    operations,
    components: { messages, schemas: collection.schemas, securitySchemes: LIVE_SECURITY_SCHEMES },
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
    const { topic, filters, summary, permission, tag } = CHANNELS[name]
    live[name] = {
      topic,
      summary,
      filters: [...filters],
      data: collection.use(LIVE_VALUES[name]),
      'x-permission': permission === 'none' ? 'none' : { ...permission },
      'x-scope': `${tag}:read`,
    }
  }
  return {
    address: WEBSOCKET_PATH,
    description:
      'JSON objects in text frames. Subscribe to a channel with a filter; events follow until unsubscribed. Channels of ' +
      'resources begin with the present state of what the filter names. A caller gets what it may see, by the `x-permission` ' +
      'and, with an API key, the `x-scope` of each channel: of everything, the events of its sites. Who the caller is and ' +
      'what it may do is looked at again and again: subscriptions that it may not have any more end with a frame `ended`, ' +
      'and the socket is closed with 4401 when the login ends, so refresh it in time.',
    messages: refs,
    bindings: { ws: { method: 'GET' } },
    'x-channels': live,
  }
}

function topicChannel(spec: TopicSpec, collection: SchemaCollection, messages: JsonObject): JsonObject {
  const { topic, key, partitions, retentionMs, groups, producers } = spec
  const record = RECORDS[topic] ?? (CONSUMED_BY_US.has(topic) ? { value: DeadLetterSchema, headers } : undefined)
  const refs: JsonObject = {}
  if (record !== undefined) {
    const name = record.value.$id as string
    messages[name] ??= {
      name,
      payload: collection.use(record.value),
      ...(record.headers === undefined ? {} : { headers: collection.use(record.headers) }),
      ...summary(record.value),
      bindings: { kafka: { key: { type: 'string', description: keyOf(record, key) } } },
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

/** Many topics share the message of a dead letter. */
function keyOf({ value }: RecordSchemas, key: string): string {
  return value === DeadLetterSchema ? 'as the original' : key
}

function overSocket(frames: Readonly<Record<string, TSchema>>): JsonObject {
  return {
    channel: { $ref: '#/channels/websocket' },
    messages: Object.keys(frames).map((name) => ({ $ref: `#/channels/websocket/messages/${name}` })),
    security: Object.keys(LIVE_SECURITY_SCHEMES).map((name) => ({ $ref: `#/components/securitySchemes/${name}` })),
  }
}

function summary(schema: TSchema): JsonObject {
  return schema.description === undefined ? {} : { summary: schema.description }
}
