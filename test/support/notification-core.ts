/** The part of a core that tells people, for tests: notifications over a database, with the relay that publishes them. */

import { onTestFinished } from 'vitest'
import type { Bus } from '../../cloud/bus/bus.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import {
  type Notice,
  type NotificationSettings,
  Notifications,
  type Recipients,
  SUBSCRIBERS,
} from '../../cloud/notifications/notifications.ts'
import { type Clock, systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { relayOver } from './outbox-relay.ts'

export const NOTIFICATION_SETTINGS: NotificationSettings = {
  keptDays: 90,
  burstNotices: 3,
  alertBurstNotices: 20,
  burstWindowMs: 60_000,
}

export interface NotificationCore {
  readonly database: DatabaseHandle
  readonly notifications: Notifications
  /** In a transaction of its own. */
  tell(...notices: readonly Notice[]): Promise<void>
  /** Publishes from now on. */
  publish(): Promise<void>
}

let cores = 0
let keys = 0

/** Its duties are not started; stopped when the test ends. */
export function notificationCore(
  database: DatabaseHandle,
  bus: Pick<Bus, 'publish'> | null = null,
  settings: Partial<NotificationSettings> = {},
  clock: Clock = systemClock,
): NotificationCore {
  const { outbox, relay } = relayOver(database, bus ?? { publish: async () => undefined }, { clock, pollMs: 50 })
  const notifications = new Notifications({
    database,
    outbox,
    settings: { ...NOTIFICATION_SETTINGS, ...settings },
    coreId: `core-n${++cores}`,
    clock,
    log: silentLogger,
  })
  onTestFinished(() => notifications.stop(AbortSignal.timeout(2_000)))
  return {
    database,
    notifications,
    async tell(...notices) {
      await database.transaction((transaction) => notifications.notify(notices, transaction))
      notifications.nudge()
    },
    publish: () => relay.start(),
  }
}

/** These people and nobody else. */
export function named(...userIds: readonly string[]): Recipients {
  return { userIds, subscribers: false }
}

/** An alert that names ann, with a key of its own. */
export function someNotice(changes: Partial<Notice> = {}): Notice {
  return {
    type: 'TELEMETRY_ALERT',
    severity: 'WARNING',
    title: 'Too hot',
    content: 'INV-001 has 90 °C',
    relatedEntityId: 'alert-1',
    siteIds: [1],
    key: `test/${++keys}`,
    recipients: named('ann'),
    atMs: Date.UTC(2026, 0, 1),
    ...changes,
  }
}

/** A status change of a device behind gateway sub-12, for subscribers; part of a burst. */
export function deviceNotice(serialNumber: string, status: string, changes: Partial<Notice> = {}): Notice {
  return someNotice({
    type: 'DEVICE_STATUS',
    title: `${serialNumber} is ${status}`,
    content: `${serialNumber} is ${status}`,
    relatedEntityId: serialNumber,
    recipients: SUBSCRIBERS,
    burst: { key: 'gateway/sub-12', subject: 'gateway sub-12', label: `${serialNumber} ${status}` },
    ...changes,
  })
}
