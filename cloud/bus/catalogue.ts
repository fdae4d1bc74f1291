/**
 * Every topic of the system: its key, partitions, retention, who writes and who reads it. Names, keys, retention and
 * groups are a contract with programs that others wrote; only partitions and replication are for the operator to raise.
 */

import { DAY_MS, MINUTE_MS } from '../../shared/durations.ts'
import { assert } from '../../shared/errors.ts'

export const DEVICE_TELEMETRY = 'device-telemetry'
export const DEVICE_STATUS = 'device-status'
export const TASK_REQUESTED = 'task.requested'
export const ORCHESTRATOR_RESPONSES = 'orchestrator.responses'
export const COMMAND_EVENTS = 'command.events'
export const CHAT_MESSAGES = 'chat-messages'
export const MESSAGE_STATUS_EVENTS = 'message-status-events'
export const TYPING_EVENTS = 'typing-events'
export const NOTIFICATIONS = 'notifications'
export const USER_ACTIVITY_LOGS = 'user-activity-logs'
export const USER_ACTIVITY_ANALYTICS = 'user-activity-analytics'

export const ANALYTICS_GROUP = 'analytics-service'
export const NOTIFICATION_GROUP = 'notification-service'
export const TASK_ORCHESTRATION_GROUP = 'task-orchestration-group'
export const COMMAND_ORCHESTRATOR_GROUP = 'command-orchestrator-group'
export const COMMAND_CREATED_GROUP = 'command-created-consumers'
export const COMMUNICATION_GROUP = 'communication-service-group'
export const NOTIFICATION_DELIVERY_GROUP = 'notification-delivery-group'
export const USER_ACTIVITY_GROUP = 'user-activity-processor'
/**
 * Reads every dead-letter topic, for the list of dead letters. Of no spec's groups: what it reads has no dead letters of its
 * own.
 */
export const DEAD_LETTER_INDEX_GROUP = 'dead-letter-index'

/** Groups of tails begin so, on a bus that needs groups for them; they hold no offsets and go with their tail. */
export const TAIL_GROUP_PREFIX = 'busbar-tail-'

/** Ids of producers that publish to several partitions at once begin so, on Kafka. */
export const TRANSACTIONAL_ID_PREFIX = 'busbar-tx-'

/** What a core with sockets in conversations follows live. */
export const CHAT_TOPICS: readonly string[] = [CHAT_MESSAGES, MESSAGE_STATUS_EVENTS, TYPING_EVENTS]

export interface TopicSpec {
  readonly topic: string
  /** What the key of its records is. */
  readonly key: string
  readonly partitions: number
  /** Age at which records may be deleted, milliseconds. */
  readonly retentionMs: number
  readonly cleanup: 'delete'
  /** Services and consumer groups that write it; some of the services through the outbox. */
  readonly producers: readonly string[]
  /** Consumer groups; a topic without any is only tailed, or read by operators. */
  readonly groups: readonly string[]
  /** Where a consumer puts what it gives up on; null when nothing consumes the topic in a group. */
  readonly deadLetterTopic: string | null
}

export interface CatalogueOptions {
  /** Partitions of `device-telemetry` and `device-status`, at least 3. Default 3. */
  readonly deviceTopicPartitions?: number
}

const PARTITIONS = 3
const DEAD_LETTER_RETENTION_MS = 30 * DAY_MS

/** The dead-letter topic of a consumed topic. */
export function deadLetterTopicOf(topic: string): string {
  return topic === USER_ACTIVITY_LOGS ? `${topic}-dlq` : `${topic}-dlt`
}

/** All topics, dead-letter topics included, in a stable order. */
export function catalogue(options: CatalogueOptions = {}): readonly TopicSpec[] {
  const devicePartitions = options.deviceTopicPartitions ?? PARTITIONS
  assert(
    Number.isInteger(devicePartitions) && devicePartitions >= PARTITIONS,
    'device topics have 3 or more partitions',
  )
  const consumed = [
    spec(
      DEVICE_TELEMETRY,
      'serialNumber',
      7 * DAY_MS,
      ['ingest'],
      [ANALYTICS_GROUP, NOTIFICATION_GROUP],
      devicePartitions,
    ),
    spec(
      DEVICE_STATUS,
      'serialNumber',
      30 * DAY_MS,
      ['ingest', 'silence watch'],
      [ANALYTICS_GROUP, NOTIFICATION_GROUP],
      devicePartitions,
    ),
    spec(TASK_REQUESTED, 'taskId', 7 * DAY_MS, ['command orchestrator'], [TASK_ORCHESTRATION_GROUP]),
    spec(ORCHESTRATOR_RESPONSES, 'deviceId', 7 * DAY_MS, ['task orchestration'], [COMMAND_ORCHESTRATOR_GROUP]),
    spec(COMMAND_EVENTS, 'command id', 7 * DAY_MS, ['command service'], [COMMAND_CREATED_GROUP]),
    spec(CHAT_MESSAGES, 'conversationId', 7 * DAY_MS, ['communication'], [COMMUNICATION_GROUP]),
    spec(MESSAGE_STATUS_EVENTS, 'userId', DAY_MS, ['communication'], [COMMUNICATION_GROUP]),
    spec(TYPING_EVENTS, 'conversationId', MINUTE_MS, ['typing'], []),
    spec(NOTIFICATIONS, 'userId', 30 * DAY_MS, ['notification', 'communication'], [NOTIFICATION_DELIVERY_GROUP]),
    spec(USER_ACTIVITY_LOGS, 'userId', 7 * DAY_MS, ['activity API', 'activity recorder'], [USER_ACTIVITY_GROUP]),
    spec(USER_ACTIVITY_ANALYTICS, 'userId', DAY_MS, ['activity processor', 'activity windows'], []),
  ]
  const deadLetters = consumed.flatMap(({ topic, key, groups, deadLetterTopic }): TopicSpec[] => {
    if (deadLetterTopic === null) return []
    return [spec(deadLetterTopic, key, DEAD_LETTER_RETENTION_MS, [...refusers(topic), ...groups], [])]
  })
  return [...consumed, ...deadLetters]
}

/** Who gives records up before they are on their topic, besides those who consume it. */
function refusers(topic: string): readonly string[] {
  if (topic === DEVICE_TELEMETRY || topic === DEVICE_STATUS) return ['ingest']
  return topic === ORCHESTRATOR_RESPONSES ? ['ingest', 'device commands'] : []
}

function spec(
  topic: string,
  key: string,
  retentionMs: number,
  producers: readonly string[],
  groups: readonly string[],
  partitions = PARTITIONS,
): TopicSpec {
  const deadLetterTopic = groups.length > 0 ? deadLetterTopicOf(topic) : null
  return { topic, key, partitions, retentionMs, cleanup: 'delete', producers, groups, deadLetterTopic }
}
