/**
 * The part of a core that judges readings by alert rules and tells people: bus, database, registry, rules, evaluation,
 * notifications. Run as a program (`bun alert-core.ts <busDir> <databaseUrl>`) it consumes until it is killed, and
 * says `storing` within each transaction that tells people of something.
 */

import {
  AlertEvaluation,
  type AlertEvaluationOptions,
  AlertRules,
  Alerts,
  type NewAlertRule,
} from '../../cloud/alerts/alerts.ts'
import type { Bus, BusRecord } from '../../cloud/bus/bus.ts'
import { catalogue } from '../../cloud/bus/catalogue.ts'
import { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { Outbox } from '../../cloud/bus/outbox.ts'
import { Parking } from '../../cloud/bus/parking.ts'
import { type DatabaseHandle, openDatabase } from '../../cloud/database/database.ts'
import { type NotificationSettings, Notifications, type Notifier } from '../../cloud/notifications/notifications.ts'
import { Registry } from '../../cloud/registry/registry.ts'
import type { Clock } from '../../shared/clock.ts'
import { sleep, systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { randomHex, systemRandom } from '../../shared/random.ts'

const common = { random: systemRandom, log: silentLogger }

/** So many are told one by one that nothing is a burst. */
const NOTIFICATION_SETTINGS: NotificationSettings = {
  keptDays: 90,
  burstNotices: 1_000,
  alertBurstNotices: 1_000_000,
  burstWindowMs: 30_000,
}

export interface AlertCore {
  readonly database: DatabaseHandle
  readonly registry: Registry
  readonly rules: AlertRules
  readonly alerts: Alerts
  readonly evaluation: AlertEvaluation
  readonly notifications: Notifications
  stop(): Promise<void>
}

export async function startBus(dir: string): Promise<EmbeddedBus> {
  const bus = new EmbeddedBus({ dir, topics: catalogue(), clock: systemClock, ...common })
  await bus.start()
  await bus.createTopics()
  return bus
}

/** Over a database that is started; `alerts` is not, so that nothing escalates by itself. */
export async function startAlertCore(options: {
  readonly bus: Pick<Bus, 'subscribe' | 'publish'>
  readonly database: DatabaseHandle
  readonly clock?: Clock
  readonly rulesMax?: number
  readonly evaluation?: Partial<AlertEvaluationOptions>
  readonly notifications?: Partial<NotificationSettings>
  /** What the evaluation tells people through in place of the notifications themselves. */
  readonly wrapNotifier?: (notifications: Notifications) => Notifier
}): Promise<AlertCore> {
  const { bus, database, clock = systemClock, rulesMax = 100 } = options
  const coreId = randomHex(systemRandom, 8)
  const tools = { clock, ...common }
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, ...tools })
  const outbox = new Outbox({ database, clock })
  const settings = { ...NOTIFICATION_SETTINGS, ...options.notifications }
  const notifications = new Notifications({ database, outbox, settings, coreId, ...tools })
  const rules = new AlertRules({ database, registry, notifier: notifications, rulesMax, ...tools })
  const periods = { escalationPeriodMs: 100, upkeepPeriodMs: 100 }
  const alerts = new Alerts({ database, notifier: notifications, coreId, keptDays: 730, ...periods, ...tools })
  const consumers = { retries: 2, deviceRetries: 2, retryBaseMs: 20, retryCapMs: 100, parkedMax: 10_000 }
  const parking = new Parking({ database, bus, coreId, settings: consumers, ...tools })
  const evaluation = new AlertEvaluation({
    bus,
    database,
    rules,
    notifier: options.wrapNotifier?.(notifications) ?? notifications,
    freshMs: 60_000,
    rulesRefreshMs: 50,
    parking,
    ...tools,
    ...options.evaluation,
  })
  await parking.start()
  await evaluation.start()
  return {
    database,
    registry,
    rules,
    alerts,
    evaluation,
    notifications,
    async stop() {
      await evaluation.stop()
      await parking.stop()
      await alerts.stop(AbortSignal.timeout(2_000))
    },
  }
}

/** Above 80, to one person. */
export const HOT: NewAlertRule = {
  name: 'Too hot',
  severity: 'CRITICAL',
  field: 'tempC',
  comparison: 'GT',
  threshold: 80,
  recipients: { userIds: ['ops'] },
}

/** As ingest publishes it. `waitedMs` makes it backfilled, `gateway` and `seq` name it. */
export function tempRecord(reading: {
  readonly deviceId: number
  readonly atMs: number
  readonly tempC: unknown
  readonly waitedMs?: number
  readonly seq?: number
  readonly deviceType?: string
}): BusRecord {
  const { deviceId, atMs, tempC, waitedMs, seq = 1, deviceType = 'SOLAR_INVERTER' } = reading
  const serialNumber = `INV-${deviceId}`
  const value = {
    ...{ deviceId, serialNumber, siteId: 1, deviceType, telemetryData: { tempC } },
    ...{ timestamp: new Date(atMs).toISOString(), eventType: 'DEVICE_TELEMETRY' },
  }
  const receivedAt = new Date(systemClock.wallMs() - (waitedMs ?? 0)).toISOString()
  const headers = { gateway: 'gw-1', seq: String(seq), receivedAt }
  return {
    key: serialNumber,
    value: JSON.stringify(value),
    headers: waitedMs === undefined ? headers : { ...headers, backfill: 'true' },
  }
}

if (import.meta.main) {
  const [busDir = '', url = ''] = process.argv.slice(2)
  const database = openDatabase({ url, clock: systemClock, ...common })
  await database.start()
  const bus = await startBus(busDir)
  await startAlertCore({
    bus,
    database,
    wrapNotifier: (notifications) => ({
      nudge: () => notifications.nudge(),
      // Long enough for whoever reads the line to kill us within the transaction.
      notify: async (notices, transaction) => {
        process.stdout.write('storing\n')
        await notifications.notify(notices, transaction)
        await sleep(systemClock, 15)
      },
    }),
  })
}
