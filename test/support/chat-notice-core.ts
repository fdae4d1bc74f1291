/** The part of a core that tells people of messages that have not come to them, for tests: over a bus, with what is read of it. */

import { onTestFinished } from 'vitest'
import type { Bus, BusRecord } from '../../cloud/bus/bus.ts'
import { CHAT_MESSAGES, MESSAGE_STATUS_EVENTS } from '../../cloud/bus/catalogue.ts'
import { ChatConsumer } from '../../cloud/chat/chat-consumer.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import type { NotificationView } from '../../cloud/notifications/notifications.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import type { ChatCore } from './chat-core.ts'
import { type NotificationCore, notificationCore } from './notification-core.ts'
import { parkingOver } from './parking.ts'
import { until } from './until.ts'

export interface NoticeCore {
  readonly consumer: ChatConsumer
  readonly notifications: NotificationCore['notifications']
  /** Who has a socket. */
  readonly online: Set<string>
}

/** Started, and stopped when the test ends. */
export async function noticeCore(
  core: ChatCore,
  bus: Pick<Bus, 'subscribe' | 'publish'>,
  changes: { readonly database?: DatabaseHandle; readonly online?: Set<string> } = {},
): Promise<NoticeCore> {
  const { database = core.database, online = new Set<string>() } = changes
  const { notifications } = notificationCore(core.database)
  const parking = parkingOver(core.database, bus)
  const consumer = new ChatConsumer({
    bus,
    database,
    notifier: notifications,
    inbox: notifications.inbox,
    presence: { isOnline: async (userIds) => new Set(userIds.filter((id) => online.has(id))) },
    subjects: core.subjects,
    settings: { noticeAfterMs: 15_000 },
    parking,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  })
  onTestFinished(() => consumer.stop())
  await parking.start()
  await consumer.start()
  return { consumer, notifications, online }
}

export interface Carrier {
  /** Publishes what was stored since, or all of it again; resolves when the consumers are done with it. */
  carry(again?: 'again'): Promise<void>
  /** Something else on a topic. */
  put(topic: string, records: readonly BusRecord[]): Promise<void>
}

/** In place of the relay of a core, so that what was published can be published again. */
export function carrierOf(core: ChatCore, bus: Bus, cores: readonly NoticeCore[]): Carrier {
  let carriedId = 0
  let published = 0
  const put = async (topic: string, records: readonly BusRecord[]) => {
    if (records.length === 0) return
    published += records.length
    await bus.publish(topic, records)
  }
  const isDone = () => {
    const stats = cores.map(({ consumer }) => consumer.stats().consumer)
    const letters = stats.flatMap(({ deadLettered }) => Object.values(deadLettered))
    return [...stats.map(({ handled }) => handled), ...letters].reduce((sum, count) => sum + count, 0) >= published
  }
  return {
    put,
    async carry(again) {
      const rows = await core.database.kysely
        .selectFrom('outbox')
        .select(['id', 'topic', 'key', 'value'])
        .where('id', '>', again === undefined ? carriedId : 0)
        .orderBy('id')
        .execute()
      carriedId = Math.max(carriedId, rows.at(-1)?.id ?? 0)
      for (const topic of [CHAT_MESSAGES, MESSAGE_STATUS_EVENTS]) {
        await put(
          topic,
          rows.filter((row) => row.topic === topic),
        )
      }
      await until(isDone, { what: 'the records are consumed' })
    },
  }
}

/** What a user is told, the oldest first. */
export async function toldTo(core: NoticeCore, userId: string): Promise<NotificationView[]> {
  const { items } = await core.notifications.inbox.list(userId)
  return items.toSorted((a, b) => a.atMs - b.atMs)
}
