import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { describe, expect, test } from 'vitest'
import { asyncApiDocument } from '../../../cloud/api/documents/asyncapi.ts'
import {
  CHAT_HEADERS_SCHEMA,
  ChatMessageRecordSchema,
  MessageStatusRecordSchema,
  TypingRecordSchema,
} from '../../../cloud/api/messages/chat-events.ts'
import { NotificationMessageSchema } from '../../../cloud/api/messages/notification-events.ts'
import { OrchestratorResponseSchema, TaskRequestedSchema } from '../../../cloud/api/messages/task-events.ts'
import {
  encodeMessage,
  encodeStatus,
  type Message,
  type MessageRecord,
  messageIdOf,
  NOTICE_ACTIONS,
  newGroupId,
  type StatusRecord,
  type TypingRecord,
} from '../../../cloud/chat/chat.ts'
import { encodeNotification } from '../../../cloud/notifications/notifications.ts'
import { encodeRequest, encodeResponse } from '../../../cloud/orchestration/task-messages.ts'
import { optionsBody, readOptions } from '../../../cloud/orchestration/task-options.ts'
import { systemRandom } from '../../../shared/random.ts'
import type { AnyJson } from '../../support/json-request.ts'

const document: AnyJson = asyncApiDocument('0.0.0-test')
const channelOf = (topic: string): AnyJson =>
  Object.values<AnyJson>(document.channels).find(({ address }) => address === topic)
const messagesOf = (topic: string): string[] => Object.keys(channelOf(topic).messages)

const strict = { additionalProperties: false }
/** Of unions of names. */
type Same<A, B> = [A, B] extends [B, A] ? true : false
const errorsOf = (schema: TSchema, value: unknown): unknown[] => [...TypeCompiler.Compile(schema).Errors(value)]

test('every topic of commands and tasks has its value, and its dead letters', () => {
  expect(messagesOf('command.events')).toEqual(['CommandCreated'])
  expect(messagesOf('task.requested')).toEqual(['TaskRequested'])
  expect(messagesOf('orchestrator.responses')).toEqual(['OrchestratorResponse'])
  for (const topic of ['device-telemetry', 'command.events', 'task.requested', 'orchestrator.responses']) {
    expect(messagesOf(`${topic}-dlt`), topic).toEqual(['DeadLetter'])
  }
  expect(document.components.messages.TaskRequested.bindings.kafka.key.description).toBe('taskId')
  for (const name of Object.keys(document.components.schemas)) expect(name).toMatch(/^[\w.-]+$/)
})

test('every live channel says what selects in it and what its events carry', () => {
  const live = document.channels.websocket['x-channels']
  expect(live.commands).toMatchObject({
    topic: null,
    filters: ['siteId', 'deviceId', 'serialNumber', 'commandId'],
    data: { $ref: '#/components/schemas/Command' },
  })
  expect(live.tasks).toMatchObject({ topic: null, filters: ['taskId'], data: { $ref: '#/components/schemas/Task' } })
  expect(live.telemetry).toMatchObject({ topic: 'device-telemetry', filters: ['siteId', 'deviceId', 'serialNumber'] })
  expect(live.alerts).toMatchObject({ topic: null, data: { $ref: '#/components/schemas/Alert' } })
  expect(live.notifications).toMatchObject({
    topic: 'notifications',
    filters: ['userId'],
    data: { $ref: '#/components/schemas/NotificationMessage' },
    'x-permission': { role: 'viewer', scope: 'self' },
  })
  expect(live.unread).toMatchObject({ topic: null, data: { $ref: '#/components/schemas/UnreadCount' } })
  expect(messagesOf('notifications')).toEqual(['NotificationMessage'])
  expect(live.chat).toMatchObject({
    topic: 'chat-messages',
    filters: ['userId'],
    data: { $ref: '#/components/schemas/ChatEvent' },
    'x-permission': { role: 'viewer', scope: 'self' },
    'x-scope': 'chat:read',
  })
})

test('a notification is what the document says, and so is one of another program', () => {
  const row = {
    ...{ id: 'ntf-0123456789abcdef01234567', user_id: 'ann', type: 'DEVICE_STATUS', severity: 'INFO', title: 'a' },
    ...{ content: 'b', related_entity_id: null, site_id: null, quiet: 0, at_ms: 0, created_at_ms: 1 },
  }
  expect(errorsOf(NotificationMessageSchema, JSON.parse(encodeNotification(row)))).toEqual([])
  const contract = { id: 'x', userId: 'ann', title: 'a', content: 'b', type: 'NEW_MESSAGE', relatedEntityId: null }
  const published = { ...contract, read: false, createdAt: '2025-10-04T10:15:00Z' }
  expect(errorsOf(NotificationMessageSchema, published)).toEqual([])
  expect(errorsOf(NotificationMessageSchema, contract)).not.toEqual([])
})

describe('records of conversations', () => {
  const conversationId = newGroupId(systemRandom)
  const messageId = messageIdOf('ann', 'm-1')
  const message: Message = {
    ...{ id: messageId, conversationId, kind: 'MESSAGE', position: 3, revision: 3, senderId: 'ann' },
    ...{ clientMessageId: 'm-1', content: '<b>hot</b>', mentions: ['bob'], notice: null, sentAtMs: 0 },
    links: [{ url: 'https://example.org/photo.jpg', name: null }],
    ...{ publishedAtMs: null, editedAtMs: null, deletedAtMs: null, deletedBy: null },
  }

  test('each topic has its value, and those that are consumed their dead letters', () => {
    expect(messagesOf('chat-messages')).toEqual(['ChatMessageRecord'])
    expect(messagesOf('message-status-events')).toEqual(['MessageStatusRecord'])
    expect(messagesOf('typing-events')).toEqual(['TypingRecord'])
    expect(messagesOf('chat-messages-dlt')).toEqual(['DeadLetter'])
    expect(messagesOf('message-status-events-dlt')).toEqual(['DeadLetter'])
  })

  test('a message is what the document says, with every member that it has', () => {
    const { notice: _, ...rest } = message
    const notices = NOTICE_ACTIONS.map((action): Message => {
      const notice = { action, userIds: ['bob', 'api-key:0123456789abcdef'], title: 'Storm', role: 'owner' }
      return { ...rest, kind: 'NOTICE', clientMessageId: null, content: '', links: [], mentions: [], notice }
    })
    const edited = { ...message, revision: 5, editedAtMs: 1 }
    const deleted = { ...edited, content: '', links: [], deletedAtMs: 2, deletedBy: 'ann' }
    for (const each of [message, edited, deleted, ...notices]) {
      const { value, headers } = encodeMessage(each, null, ['bob'])
      const record = JSON.parse(value)
      expect(errorsOf(Type.Composite([ChatMessageRecordSchema], strict), record)).toEqual([])
      expect(errorsOf(Type.Composite([CHAT_HEADERS_SCHEMA], strict), headers)).toEqual([])
      for (const member of Object.keys(record)) {
        const { [member]: _left, ...without } = record
        expect(errorsOf(ChatMessageRecordSchema, without), member).not.toEqual([])
      }
    }
    expect(errorsOf(ChatMessageRecordSchema, JSON.parse(encodeMessage(message, 'bob', ['bob']).value))).toEqual([])
  })

  test('so is how far it has come, and who is typing', () => {
    const about = { messageId, conversationId, userId: 'bob', position: 3, recipientIds: ['ann'] }
    for (const status of ['SENT', 'DELIVERED', 'READ'] as const) {
      const { value, headers } = encodeStatus({ ...about, status, timestamp: '2026-11-21T10:00:00.000Z' })
      expect(errorsOf(Type.Composite([MessageStatusRecordSchema], strict), JSON.parse(value))).toEqual([])
      expect(errorsOf(Type.Composite([CHAT_HEADERS_SCHEMA], strict), headers)).toEqual([])
    }
    const typing: TypingRecord = { conversationId, userId: 'bob', isTyping: true, timestamp: 1, recipientIds: ['ann'] }
    expect(errorsOf(Type.Composite([TypingRecordSchema], strict), JSON.parse(JSON.stringify(typing)))).toEqual([])
  })

  test('the types of the programs are those of the document', () => {
    const same: readonly [
      Same<keyof MessageRecord, keyof Static<typeof ChatMessageRecordSchema>>,
      Same<keyof StatusRecord, keyof Static<typeof MessageStatusRecordSchema>>,
      Same<keyof TypingRecord, keyof Static<typeof TypingRecordSchema>>,
    ] = [true, true, true]
    expect(same).toEqual([true, true, true])
  })
})

test('what is published is what the document says', () => {
  const defaults = { expiryMs: 60_000, timeoutMs: 1_000, concurrency: 10 }
  const rate = { per_minute: 60, growth_factor: 2 }
  const read = readOptions({ rate, abort: [{ on: 'FAILED', percent: 20 }] }, 0, defaults)
  const request = encodeRequest({
    commandType: 'SET_TOU',
    commandParams: '{"tou_profile_id":"TOU-2025-TEST"}',
    deviceIds: ['meter-001', 'meter-002'],
    requestedBy: 'userB',
    options: optionsBody(read.options, read.startAtMs, read.expiresAtMs),
    round: 2,
    siteId: 1,
  })
  expect(errorsOf(TaskRequestedSchema, JSON.parse(request))).toEqual([])
  const response = { taskId: '689dce4358cba50614cee678', commandId: '681dce4358cba50614cee672', attempt: 1 }
  for (const outcome of ['SUCCEEDED', 'FAILED', 'REJECTED', 'TIMED_OUT', 'EXPIRED', 'CANCELLED'] as const) {
    const about = { ...response, serialNumber: 'meter-001', outcome, atMs: 0, payload: null, reason: 'why' }
    expect(errorsOf(OrchestratorResponseSchema, JSON.parse(encodeResponse(about)))).toEqual([])
  }
})

test('the examples of the contract are what the document says', () => {
  const request = {
    command_type: 'SET_TOU',
    command_params: { tou_profile_id: 'TOU-2025-TEST' },
    device_ids: ['meter-001', 'meter-002', 'meter-003'],
    requested_by: 'userB',
  }
  const response = {
    taskId: '689dce4358cba50614cee678',
    command_id: '681dce4358cba50614cee672',
    deviceId: 'meter-001',
    status: 'SUCCESS',
    receivedAt: '2025-05-08T02:01:10Z',
    responsePayload: { dlmsResultCode: 0, deviceTime: '2025-05-08T02:00:59Z' },
  }
  expect(errorsOf(TaskRequestedSchema, request)).toEqual([])
  expect(errorsOf(OrchestratorResponseSchema, response)).toEqual([])
  expect(errorsOf(TaskRequestedSchema, { ...request, device_ids: [] })).not.toEqual([])
  expect(errorsOf(Type.Array(OrchestratorResponseSchema), [{ ...response, status: 'SUCCEEDED' }])).not.toEqual([])
})
