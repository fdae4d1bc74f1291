/** What the services write, in Avro by the published schemas and back: nothing is lost on the way. */

import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it, test } from 'vitest'
import { activityAnalytics, activityRecord, analyticsRecord } from '../../cloud/activity/activity.ts'
import { AvroDecoder, AvroEncoder } from '../../cloud/bus/encoding/avro-codec.ts'
import { encodeMessage, encodeStatus } from '../../cloud/chat/chat-records.ts'
import type { Message } from '../../cloud/chat/message.ts'
import { commandCreated } from '../../cloud/commands/command-event.ts'
import { telemetryPrefix, telemetryValue } from '../../cloud/ingest/telemetry-value.ts'
import { encodeNotification } from '../../cloud/notifications/notification.ts'
import { encodeRequest, encodeResponse } from '../../cloud/orchestration/task-messages.ts'
import { optionsBody, readOptions } from '../../cloud/orchestration/task-options.ts'
import { statusRecordValue } from '../../cloud/registry/status-record.ts'
import { publishedFiles } from '../../packaging/published-schemas.ts'
import { TOPIC_SCHEMAS } from '../../proto/generated/avro/topic-schemas.ts'
import { someActivity } from '../support/activity-log.ts'
import { projectDir } from '../support/child.ts'
import { describePython } from '../support/python.ts'
import { pythonEnvironment } from '../support/python-environment.ts'

const AT_MS = Date.UTC(2026, 0, 31, 12)
const DEVICE = { deviceId: 7, serialNumber: 'INV-1', siteId: 3, deviceType: 'SOLAR_INVERTER' }

function reading(payload: object): string {
  const made = telemetryValue(telemetryPrefix(DEVICE), Buffer.from(JSON.stringify(payload)), AT_MS, 0)
  if (!('value' in made)) throw new Error('the reading is refused')
  return made.value
}

const message: Message = {
  id: 'msg-0123456789abcdef01234567',
  conversationId: 'conv-0123456789abcdef01234567',
  kind: 'MESSAGE',
  position: 1,
  revision: 2,
  senderId: 'anna',
  clientMessageId: null,
  content: 'Zähler € "x" 😀',
  links: [
    { url: 'https://example.com/a', name: null },
    { url: 'https://example.com/b', name: 'b' },
  ],
  mentions: ['bert'],
  notice: null,
  sentAtMs: AT_MS,
  publishedAtMs: null,
  editedAtMs: AT_MS,
  deletedAtMs: null,
  deletedBy: null,
}
const notification = {
  id: 'ntf-0123456789abcdef01234567',
  user_id: 'anna',
  type: 'TELEMETRY_ALERT',
  severity: 'WARNING',
  title: 'Hot',
  content: 'Very',
  related_entity_id: null,
  site_id: null,
  quiet: 0,
  at_ms: AT_MS,
  created_at_ms: AT_MS,
}
const request = {
  commandType: 'SET_TOU',
  deviceIds: ['INV-1', 'INV-2'],
  requestedBy: 'anna',
  round: 1,
}
const fullOptions = {
  expires_in_ms: 60_000,
  retries: { max: 2, on: ['FAILED' as const] },
  rate: { per_minute: 10, growth_factor: 1.5 },
  abort: [{ on: 'ANY' as const, percent: 12.5 }],
}
const options = (requested: Parameters<typeof readOptions>[0]): object => {
  const read = readOptions(requested, AT_MS, { expiryMs: 1, timeoutMs: 2, concurrency: 3 })
  return optionsBody(read.options, read.startAtMs, read.expiresAtMs)
}
const response = {
  taskId: '689dce4358cba50614cee001',
  commandId: 'cmd-1',
  serialNumber: 'INV-1',
  outcome: 'SUCCEEDED' as const,
  atMs: AT_MS,
  reason: null,
  attempt: 0,
}
const typing = {
  conversationId: message.conversationId,
  userId: 'anna',
  isTyping: true,
  timestamp: AT_MS,
  recipientIds: [],
}
const status = {
  ...{ messageId: message.id, conversationId: message.conversationId, status: 'READ' as const, userId: 'bert' },
  ...{ timestamp: new Date(AT_MS).toISOString(), position: 4, recipientIds: ['anna', 'bert'] },
}

const activity = {
  ...{ userId: 'user123', activityType: 'login', timestamp: '2024-01-12T10:30:00.000Z' },
  metadata: { ipAddress: '192.168.1.1', userAgent: 'Mozilla/5.0...', sessionId: 'sess_abc123' },
  ...{ eventId: 'evt_1234567890', version: '1.0' },
}
const object = { objectType: 'device', objectId: '7', siteId: 3, correlationId: 'req-1', recordedBy: 'api-key:1' }
const window = {
  ...{ kind: 'WINDOW' as const, eventId: 'win_1', timestamp: '2024-01-12T10:31:00.000Z', userId: 'anna' },
  ...{ windowStart: '2024-01-12T10:30:00.000Z', windowEnd: '2024-01-12T10:31:00.000Z' },
  ...{ count: 3, succeeded: 1, failed: 1, refused: 1 },
}

const FASTAVRO = `
import fastavro, io, json, sys
count = 0
for line in map(json.loads, sys.stdin):
    schema = fastavro.schema.load_schema(line["schema"])
    body = bytes.fromhex(line["body"])
    source = io.BytesIO(body)
    value = fastavro.schemaless_reader(source, schema)
    assert source.read() == b"", line
    assert fastavro.validate(value, schema, strict=True)
    target = io.BytesIO()
    fastavro.schemaless_writer(target, schema, value)
    assert target.getvalue() == body, value
    count += 1
print(count)
`

/** Topic → what the services write there. */
const WRITTEN: Readonly<Record<string, readonly string[]>> = {
  'device-telemetry': [
    reading({}),
    reading({ powerKw: 45.2, count: 3, big: 2 ** 53, tiny: 5e-324, negative: -1.5, ok: false, none: null, text: '' }),
    reading({ list: [1, 'two', [null]], nested: { json: 'x', deep: { list: [{}] } }, '': 1, 'a.b/c': 2, Zähler: 'ü' }),
  ],
  'device-status': [statusRecordValue({ ...DEVICE, previous: 'ONLINE', status: 'ERROR', atMs: AT_MS, reason: 'E1' })],
  'task.requested': [
    encodeRequest({ ...request, commandParams: 'null', options: options({}), siteId: null }),
    encodeRequest({ ...request, commandParams: '{"a":[1,{"b":null}]}', options: options(fullOptions), siteId: 3 }),
  ],
  'orchestrator.responses': [
    encodeResponse({ ...response, payload: '{"dlmsResultCode":0}' }),
    encodeResponse({ ...response, payload: null, reason: 'refused' }),
    encodeResponse({ ...response, payload: '"text"' }),
    encodeResponse({ ...response, payload: 'null' }),
  ],
  'command.events': [{ force: true }, null, [1, 'two', null], 'text', 4.5, false, ''].map((payload) =>
    commandCreated({ id: 'cmd-1a2b3c4d', deviceId: 'INV-1', name: 'reboot', payload, createdAtMs: AT_MS }),
  ),
  'chat-messages': [
    encodeMessage(message, null, ['bert', 'carl']).value,
    encodeMessage({ ...message, kind: 'NOTICE', notice: { action: 'joined' }, links: [] }, 'bert', []).value,
    encodeMessage({ ...message, notice: { action: 'role', userIds: ['bert'], title: 'x', role: 'owner' } }, null, [])
      .value,
  ],
  'message-status-events': [encodeStatus(status).value],
  'typing-events': [JSON.stringify(typing)],
  'user-activity-logs': [
    activityRecord(activity, 'test').value,
    activityRecord({ ...activity, metadata: { n: 4, deep: { list: [null] } }, outcome: 'REFUSED', ...object }, 'test')
      .value,
  ],
  'user-activity-analytics': [
    activityAnalytics(someActivity({ activityType: 'login', siteId: 3 })).value.toString(),
    analyticsRecord(window).value,
  ],
  notifications: [encodeNotification(notification), encodeNotification({ ...notification, site_id: 3 })],
}

describe('values of a topic in Avro', () => {
  test('every topic that has a schema is looked at', () => {
    expect(Object.keys(WRITTEN).sort()).toEqual(Object.keys(TOPIC_SCHEMAS).sort())
  })

  const cases = Object.entries(WRITTEN).flatMap(([topic, values]) => values.map((value) => [topic, value] as const))
  it.each(cases)('%s comes back as it was, %#', (topic, value) => {
    const schema = TOPIC_SCHEMAS[topic] ?? ''
    const encoder = new AvroEncoder(schema)
    const framed = encoder.encode(1, value)
    expect(framed[0]).toBe(0)
    expect(JSON.parse(new AvroDecoder(schema, encoder.shape).decode(framed))).toEqual(JSON.parse(value))
  })

  describePython('in Python', (python3) => {
    test('fastavro reads each by the published file, and writes the same bytes', async () => {
      const files = new Map(publishedFiles().map((file) => [file.text, file.path]))
      const lines = cases.map(([topic, value]) => {
        const schema = TOPIC_SCHEMAS[topic] ?? ''
        const body = new AvroEncoder(schema).encode(1, value).subarray(5)
        const path = files.get(`${JSON.stringify(JSON.parse(schema), null, 2)}\n`) ?? ''
        return JSON.stringify({ schema: join(projectDir, path), body: body.toString('hex') })
      })
      const read = execFileSync(await pythonEnvironment(python3), ['-c', FASTAVRO], {
        input: lines.join('\n'),
        encoding: 'utf8',
      })
      expect(Number(read)).toBe(cases.length)
    })
  })
})
