import { expect, test } from 'vitest'
import { catalogue, deadLetterTopicOf } from '../../../cloud/bus/catalogue.ts'

const DAY_MS = 86_400_000

test('the topics, keys, partitions and retention of the contract', () => {
  const rows = catalogue().map(({ topic, key, partitions, retentionMs }) => [topic, key, partitions, retentionMs])
  expect(rows).toEqual([
    ['device-telemetry', 'serialNumber', 3, 7 * DAY_MS],
    ['device-status', 'serialNumber', 3, 30 * DAY_MS],
    ['task.requested', 'taskId', 3, 7 * DAY_MS],
    ['orchestrator.responses', 'deviceId', 3, 7 * DAY_MS],
    ['command.events', 'command id', 3, 7 * DAY_MS],
    ['chat-messages', 'conversationId', 3, 7 * DAY_MS],
    ['message-status-events', 'userId', 3, DAY_MS],
    ['typing-events', 'conversationId', 3, 60_000],
    ['notifications', 'userId', 3, 30 * DAY_MS],
    ['user-activity-logs', 'userId', 3, 7 * DAY_MS],
    ['user-activity-analytics', 'userId', 3, DAY_MS],
    ['device-telemetry-dlt', 'serialNumber', 3, 30 * DAY_MS],
    ['device-status-dlt', 'serialNumber', 3, 30 * DAY_MS],
    ['task.requested-dlt', 'taskId', 3, 30 * DAY_MS],
    ['orchestrator.responses-dlt', 'deviceId', 3, 30 * DAY_MS],
    ['command.events-dlt', 'command id', 3, 30 * DAY_MS],
    ['chat-messages-dlt', 'conversationId', 3, 30 * DAY_MS],
    ['message-status-events-dlt', 'userId', 3, 30 * DAY_MS],
    ['notifications-dlt', 'userId', 3, 30 * DAY_MS],
    ['user-activity-logs-dlq', 'userId', 3, 30 * DAY_MS],
  ])
})

test('only the device topics take more partitions', () => {
  const raised = catalogue({ deviceTopicPartitions: 12 }).filter(({ partitions }) => partitions !== 3)
  expect(raised.map(({ topic }) => topic)).toEqual(['device-telemetry', 'device-status'])
})

test('a consumed topic has its dead-letter topic in the catalogue', () => {
  const all = catalogue()
  const names = new Set(all.map(({ topic }) => topic))
  for (const { topic, groups, deadLetterTopic } of all) {
    expect(deadLetterTopic).toBe(groups.length > 0 ? deadLetterTopicOf(topic) : null)
    if (deadLetterTopic !== null) expect(names).toContain(deadLetterTopic)
  }
})
