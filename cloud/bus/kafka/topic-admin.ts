/** Creating the catalogue's topics and finding what differs from it. */

import kafkajs, { type Admin, type Kafka } from 'kafkajs'
import { BusbarError } from '../../../shared/errors.ts'
import type { GroupPosition, TopicDrift } from '../bus.ts'
import type { TopicSpec } from '../catalogue.ts'
import { isDenied, nextStepAfter } from './advice.ts'
import { describeFailure } from './produce-error.ts'

/** What brokers begin a new segment after, unless a topic says otherwise. */
const BROKERS_SEGMENT_MS = 7 * 86_400_000

export interface Replication {
  readonly replicationFactor: number
  readonly minInsyncReplicas: number
}

/** Creates those of `topics` that do not exist; returns their names. */
export async function createTopics(
  kafka: Kafka,
  topics: readonly TopicSpec[],
  { replicationFactor, minInsyncReplicas }: Replication,
): Promise<string[]> {
  return withAdmin(kafka, async (admin) => {
    const existing = new Set(await admin.listTopics())
    const missing = topics.filter(({ topic }) => !existing.has(topic))
    if (missing.length === 0) return []
    await admin
      .createTopics({
        waitForLeaders: true,
        topics: missing.map(({ topic, partitions, retentionMs, cleanup }) => ({
          topic,
          numPartitions: partitions,
          replicationFactor,
          configEntries: [
            { name: 'retention.ms', value: String(retentionMs) },
            { name: 'cleanup.policy', value: cleanup },
            { name: 'min.insync.replicas', value: String(minInsyncReplicas) },
            ...segmentSetting(retentionMs),
          ],
        })),
      })
      .catch((error: unknown) => {
        throw isDenied(describeFailure(error)) ? mayNotCreate(missing, error) : error
      })
    return missing.map(({ topic }) => topic)
  })
}

/** The brokers show only topics that we may see: one that is not shown may be there all the same. */
function mayNotCreate(topics: readonly TopicSpec[], cause: unknown): BusbarError {
  const names = topics.map(({ topic }) => topic).join(', ')
  return new BusbarError(`topics do not exist, or are not this user's to see, and it may not create them: ${names}`, {
    code: 'KAFKA_DENIED',
    retryable: true,
    hint: 'Have them made by `busbar-cloud topics create` as a user who may, and give this one what `busbar-cloud topics acls` prints.',
    cause,
  })
}

/**
 * A broker deletes whole segments, and the one that is written to never: with segments of a week a busy topic would keep
 * a minute's records for a week. The broker looks for what may go every few minutes (log.retention.check.interval.ms).
 */
function segmentSetting(retentionMs: number): { name: string; value: string }[] {
  return retentionMs < BROKERS_SEGMENT_MS ? [{ name: 'segment.ms', value: String(retentionMs) }] : []
}

/** What is missing, has fewer partitions or replicas than it should, or is kept for another time. */
export async function checkTopics(
  kafka: Kafka,
  topics: readonly TopicSpec[],
  replication: Replication,
): Promise<TopicDrift[]> {
  return withAdmin(kafka, async (admin) => {
    const existing = new Set(await admin.listTopics())
    const present = topics.filter(({ topic }) => existing.has(topic)).map(({ topic }) => topic)
    const metadata = present.length > 0 ? (await admin.fetchTopicMetadata({ topics: present })).topics : []
    const settings = await topicSettings(admin, present)
    return topics.flatMap(({ topic, partitions, retentionMs }): TopicDrift[] => {
      const found = metadata.find(({ name }) => name === topic)
      if (found === undefined) return [{ topic, setting: 'missing', expected: null, actual: null }]
      const drift: TopicDrift[] = []
      const segmentMs = settings.get(topic)?.get('segment.ms') ?? null
      const compare = (
        setting: TopicDrift['setting'],
        expected: number,
        actual: number | null,
        moreWillDo: boolean,
      ) => {
        const agrees = actual !== null && (actual === expected || (moreWillDo && actual > expected))
        if (!agrees) drift.push({ topic, setting, expected, actual })
      }
      const replicas = Math.min(...found.partitions.map((partition) => partition.replicas.length))
      compare('partitions', partitions, found.partitions.length, true)
      compare('retentionMs', retentionMs, settings.get(topic)?.get('retention.ms') ?? null, false)
      if (retentionMs < BROKERS_SEGMENT_MS && segmentMs !== null && segmentMs > retentionMs) {
        drift.push({ topic, setting: 'segmentMs', expected: retentionMs, actual: segmentMs })
      }
      compare('replicationFactor', replication.replicationFactor, replicas, true)
      const minInsync = settings.get(topic)?.get('min.insync.replicas') ?? null
      compare('minInsyncReplicas', replication.minInsyncReplicas, minInsync, true)
      return drift
    })
  })
}

async function topicSettings(admin: Admin, topics: readonly string[]): Promise<Map<string, Map<string, number>>> {
  const settings = new Map<string, Map<string, number>>()
  if (topics.length === 0) return settings
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: topics.map((name) => ({
      type: kafkajs.ConfigResourceTypes.TOPIC,
      name,
      configNames: ['retention.ms', 'segment.ms', 'min.insync.replicas'],
    })),
  })
  for (const { resourceName, configEntries } of resources) {
    settings.set(
      resourceName,
      new Map(configEntries.map(({ configName, configValue }) => [configName, Number(configValue)])),
    )
  }
  return settings
}

/** Offset that the next record of each partition will get. */
export async function endOffsets(kafka: Kafka, topic: string): Promise<{ partition: number; nextOffset: bigint }[]> {
  return withAdmin(kafka, async (admin) => {
    const offsets = await admin.fetchTopicOffsets(topic)
    return offsets.map(({ partition, high }) => ({ partition, nextOffset: BigInt(high) }))
  })
}

/** What a group has committed, and where the partitions end. */
export async function groupPositions(
  kafka: Kafka,
  groupId: string,
  topics: readonly string[],
): Promise<GroupPosition[]> {
  return withAdmin(kafka, async (admin) => {
    // First what is committed: what is published meanwhile counts as not handled rather than the other way round.
    const committed = new Map<string, bigint>()
    for (const { topic, partitions } of await admin.fetchOffsets({ groupId, topics: [...topics] })) {
      for (const { partition, offset } of partitions) committed.set(`${topic}/${partition}`, BigInt(offset))
    }
    const positions: GroupPosition[] = []
    for (const topic of topics) {
      for (const { partition, low, high } of await admin.fetchTopicOffsets(topic)) {
        const next = committed.get(`${topic}/${partition}`) ?? -1n
        const oldest = BigInt(low)
        // A group that has committed nothing, or long ago, goes on at the oldest record there is.
        positions.push({ topic, partition, nextOffset: next < oldest ? oldest : next, endOffset: BigInt(high) })
      }
    }
    return positions
  })
}

/** Forgets a consumer group that has no members left; one that is already gone is fine. */
export async function deleteGroup(kafka: Kafka, group: string): Promise<void> {
  await withAdmin(kafka, (admin) => admin.deleteGroups([group])).catch(() => {})
}

/** Connections to the brokers, for as long as somebody asks something over them. */
interface Session {
  readonly admin: Admin
  readonly connected: Promise<void>
  users: number
}

const sessions = new WeakMap<Kafka, Session>()

/** What is asked at the same time shares its connections: how far each group has come is, every few seconds. */
async function withAdmin<T>(kafka: Kafka, use: (admin: Admin) => Promise<T>): Promise<T> {
  const session = sessions.get(kafka) ?? openSession(kafka)
  session.users++
  try {
    await session.connected
    return await use(session.admin)
  } catch (error) {
    endSession(kafka, session)
    if (error instanceof BusbarError) throw error
    const failure = describeFailure(error)
    throw new BusbarError(`Kafka refused an administrative request: ${failure}`, {
      code: isDenied(failure) ? 'KAFKA_DENIED' : 'KAFKA_ADMIN_FAILED',
      retryable: true,
      hint: `${nextStepAfter(failure, ['the brokers'])}.`,
      cause: error,
    })
  } finally {
    if (--session.users === 0) {
      endSession(kafka, session)
      await session.admin.disconnect().catch(() => {})
    }
  }
}

function openSession(kafka: Kafka): Session {
  const admin = kafka.admin()
  const session = { admin, connected: admin.connect(), users: 0 }
  sessions.set(kafka, session)
  return session
}

/** Nobody else begins to use it. */
function endSession(kafka: Kafka, session: Session): void {
  if (sessions.get(kafka) === session) sessions.delete(kafka)
}
