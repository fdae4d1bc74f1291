/** An alert core in a test: started over a fresh database and bus, fed with readings, stopped when the test ends. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { AlertView } from '../../cloud/alerts/alerts.ts'
import type { BusRecord } from '../../cloud/bus/bus.ts'
import { DEVICE_STATUS, DEVICE_TELEMETRY } from '../../cloud/bus/catalogue.ts'
import type { EmbeddedBus } from '../../cloud/bus/embedded/embedded-bus.ts'
import { type AlertCore, startAlertCore, startBus, tempRecord } from './alert-core.ts'
import type { DatabaseUnderTest } from './databases.ts'
import { until } from './until.ts'

const never = new AbortController().signal
export const T0 = Date.UTC(2026, 0, 1)

export interface StartedAlerts extends AlertCore {
  readonly bus: EmbeddedBus
  readonly url: string
  send(...records: readonly BusRecord[]): Promise<void>
  /** Everything sent so far was handled. */
  settled(): Promise<void>
  all(): Promise<readonly AlertView[]>
  told(user?: string): Promise<readonly string[]>
}

export async function tempDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'busbar-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

/** With the site and the devices 1 to 5 registered. */
export async function startAlerts(
  databases: DatabaseUnderTest,
  options: Partial<Parameters<typeof startAlertCore>[0]> & { readonly url?: string; readonly bus?: EmbeddedBus } = {},
): Promise<StartedAlerts> {
  const url = options.url ?? (await databases.freshUrl())
  const database = options.database ?? (await databases.open({ url }))
  let { bus } = options
  if (bus === undefined) {
    const own = await startBus(await tempDir())
    onTestFinished(() => own.stop(never))
    bus = own
  }
  const core = await startAlertCore({ ...options, bus, database })
  onTestFinished(() => core.stop())
  await core.registry.load(
    'gw-1',
    [1, 2, 3, 4, 5].map((i) => ({ siteId: 1, serialNumber: `INV-${i}` })),
  )
  let sent = 0
  const given = bus
  return {
    ...core,
    bus: given,
    url,
    async send(...records) {
      const statuses = records.filter(({ value }) => String(value).includes('newStatus'))
      const readings = records.filter((record) => !statuses.includes(record))
      if (readings.length > 0) await given.publish(DEVICE_TELEMETRY, readings)
      if (statuses.length > 0) await given.publish(DEVICE_STATUS, statuses)
      sent += records.length
    },
    async settled() {
      await until(() => core.evaluation.stats().consumer.handled >= sent, { what: 'all records are handled' })
    },
    all: async () => (await core.alerts.list({ limit: 500 })).items.toReversed(),
    async told(user = 'ops') {
      const rows = await database.kysely
        .selectFrom('notifications')
        .select('title')
        .where('user_id', '=', user)
        .orderBy('created_at_ms')
        .execute()
      return rows.map(({ title }) => title).toSorted()
    },
  }
}

export const temp = (deviceId: number, second: number, tempC: unknown, more: object = {}) =>
  tempRecord({ deviceId, atMs: T0 + second * 1_000, tempC, ...more })

export function statusRecord(deviceId: number, status: string, headers: Record<string, string>): BusRecord {
  const serialNumber = `INV-${deviceId}`
  const value = {
    ...{ deviceId, serialNumber, siteId: 1, previousStatus: 'ONLINE', newStatus: status },
    ...{ timestamp: new Date(T0).toISOString(), eventType: 'DEVICE_STATUS_CHANGE', reason: `it is ${status}` },
  }
  return { key: serialNumber, value: JSON.stringify(value), headers }
}
