/**
 * The schemas that other people's programs read: JSON Schema and Avro files in proto/, made from the TypeBox schemas that the
 * services validate with, and the module in which the cloud itself finds the Avro schema of a topic. See proto/README.md.
 */

import type { TObject } from '@sinclair/typebox'
import { UserActivityAnalyticsSchema, UserActivitySchema } from '../cloud/activity/activity.ts'
import {
  ChatMessageRecordSchema,
  MessageStatusRecordSchema,
  TypingRecordSchema,
} from '../cloud/api/messages/chat-events.ts'
import { DeviceStatusChangeSchema, DeviceTelemetrySchema } from '../cloud/api/messages/device-events.ts'
import { NotificationMessageSchema } from '../cloud/api/messages/notification-events.ts'
import { OrchestratorResponseSchema, TaskRequestedSchema } from '../cloud/api/messages/task-events.ts'
import {
  CHAT_MESSAGES,
  COMMAND_EVENTS,
  DEVICE_STATUS,
  DEVICE_TELEMETRY,
  MESSAGE_STATUS_EVENTS,
  NOTIFICATIONS,
  ORCHESTRATOR_RESPONSES,
  TASK_REQUESTED,
  TYPING_EVENTS,
  USER_ACTIVITY_ANALYTICS,
  USER_ACTIVITY_LOGS,
} from '../cloud/bus/catalogue.ts'
import { CommandCreatedSchema } from '../cloud/commands/commands.ts'
import { avroRecord } from './avro-schema.ts'

/** A file with its text, its path relative to the project. */
export interface PublishedFile {
  readonly path: string
  /** What it was at the last release. */
  readonly releasedPath: string
  readonly kind: 'json' | 'avro'
  readonly text: string
}

/** An event that is published as a JSON Schema besides. */
interface PublishedEvent {
  /** Its `type`: a breaking change takes a new one, such as command.v2.created. */
  readonly type: string
  readonly schema: TObject
}

/** The values of a topic as Avro. */
interface PublishedValue {
  readonly topic: string
  readonly schema: TObject
  readonly avroName: string
  /** In proto/avro. */
  readonly avroFile: string
}

const EVENTS: readonly PublishedEvent[] = [{ type: 'command.created', schema: CommandCreatedSchema }]

const VALUES: readonly PublishedValue[] = [
  value(DEVICE_TELEMETRY, DeviceTelemetrySchema, 'DeviceTelemetry', 'device_telemetry_v1'),
  value(DEVICE_STATUS, DeviceStatusChangeSchema, 'DeviceStatusChange', 'device_status_change_v1'),
  value(TASK_REQUESTED, TaskRequestedSchema, 'TaskRequested', 'task_requested_v1'),
  value(ORCHESTRATOR_RESPONSES, OrchestratorResponseSchema, 'OrchestratorResponse', 'orchestrator_response_v1'),
  value(COMMAND_EVENTS, CommandCreatedSchema, 'CommandCreated', 'command_created_v1'),
  value(CHAT_MESSAGES, ChatMessageRecordSchema, 'ChatMessage', 'chat_message_v1'),
  value(MESSAGE_STATUS_EVENTS, MessageStatusRecordSchema, 'MessageStatus', 'message_status_v1'),
  value(TYPING_EVENTS, TypingRecordSchema, 'Typing', 'typing_v1'),
  value(NOTIFICATIONS, NotificationMessageSchema, 'Notification', 'notification_v1'),
  value(USER_ACTIVITY_LOGS, UserActivitySchema, 'UserActivity', 'user_activity_v1'),
  value(USER_ACTIVITY_ANALYTICS, UserActivityAnalyticsSchema, 'UserActivityAnalytics', 'user_activity_analytics_v1'),
]

const DIALECT = 'https://json-schema.org/draft/2020-12/schema'

/** Where the cloud finds the Avro schema of a topic, written with the published files. */
export const TOPIC_SCHEMAS_PATH = 'proto/generated/avro/topic-schemas.ts'

export function publishedFiles(): PublishedFile[] {
  return [
    ...EVENTS.map((event) => published('json', `${event.type}.schema.json`, jsonSchema(event))),
    ...VALUES.map((each) => published('avro', each.avroFile, avroSchema(each))),
  ]
}

/** Text of the module at TOPIC_SCHEMAS_PATH. */
export function topicSchemasModule(): string {
  const entries = VALUES.map((each) => {
    const text = JSON.stringify(avroSchema(each)).replaceAll('\\', '\\\\').replaceAll("'", "\\'")
    return `  '${each.topic}':\n    '${text}',\n`
  })
  return (
    '/** Avro schemas of the topics, as they are registered. Written by `npm run schemas`: not to be edited. */\n\n' +
    '/** Topic → schema of its values, as JSON on one line. */\n' +
    `export const TOPIC_SCHEMAS: Readonly<Record<string, string>> = {\n${entries.join('')}}\n`
  )
}

function value(topic: string, schema: TObject, avroName: string, file: string): PublishedValue {
  return { topic, schema, avroName, avroFile: `${file}.avsc` }
}

function published(kind: 'json' | 'avro', file: string, content: object): PublishedFile {
  const text = `${JSON.stringify(content, null, 2)}\n`
  return { path: `proto/${kind}/${file}`, releasedPath: `proto/${kind}/released/${file}`, kind, text }
}

function jsonSchema({ type, schema }: PublishedEvent): object {
  const { $id: _, title, description, ...rest } = schema
  return { $schema: DIALECT, $id: `urn:busbar:schema:${type}`, title, description, ...rest }
}

function avroSchema({ schema, avroName }: PublishedValue): object {
  return avroRecord(avroName, schema)
}
