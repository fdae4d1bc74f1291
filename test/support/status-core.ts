/** Parts of the status service over a real database, with an outbox whose records can be read, and devices to watch. */

import { Outbox } from '../../cloud/bus/outbox.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import type { StatusEvent } from '../../cloud/registry/device-event.ts'
import { Registry } from '../../cloud/registry/registry.ts'
import type { Clock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { seededRandom } from './seeded-random.ts'

export interface StatusCore {
  readonly database: DatabaseHandle
  readonly registry: Registry
  readonly outbox: Outbox
  /** What every part of it takes. */
  readonly common: {
    database: DatabaseHandle
    outbox: Outbox
    coreId: string
    clock: Clock
    random: Random
    log: typeof silentLogger
  }
}

/** Nothing of it is started but the database. */
export function statusCore(database: DatabaseHandle, clock: Clock, coreId = 'core-1'): StatusCore {
  const log = silentLogger
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, clock, log })
  const outbox = new Outbox({ database, clock })
  const common = { database, outbox, coreId, clock, random: seededRandom(Number(coreId.at(-1)) || 7), log }
  return { database, registry, outbox, common }
}

export const hello = (gatewayId: string, sessionId = 'session-1', clockOffsetMs = 0) => ({
  gatewayId,
  sessionId,
  epoch: 'e1',
  bootId: 'b1',
  softwareVersion: '0.1.0',
  clockOffsetMs,
})

/** Registers devices behind a gateway; resolves with their ids. */
export async function devicesBehind(
  { registry }: StatusCore,
  gatewayId: string,
  serialNumbers: readonly string[],
  siteId = 1,
): Promise<number[]> {
  const devices = await registry.load(
    gatewayId,
    serialNumbers.map((serialNumber) => ({ siteId, serialNumber })),
  )
  return devices.map((device) => device?.deviceId as number)
}

let sequence = 0

export function statusEvent(deviceId: number, atMs: number, changes: Partial<StatusEvent> = {}): StatusEvent {
  return {
    deviceId,
    siteId: 1,
    serialNumber: `S-${deviceId}`,
    atMs,
    seq: ++sequence,
    gatewayId: 'gw-1',
    receivedAtMs: atMs,
    busAtMs: atMs,
    backfill: false,
    replayed: false,
    previous: null,
    status: 'ONLINE',
    reason: null,
    ...changes,
  }
}

/** What waits to be published, in order. */
export async function outboxRecords(database: DatabaseHandle) {
  const rows = await database.kysely.selectFrom('outbox').selectAll().orderBy('id').execute()
  return rows.map((row) => ({
    topic: row.topic,
    key: row.key,
    // biome-ignore lint/suspicious/noExplicitAny: read by expectations alone.
    value: JSON.parse(row.value) as any,
    headers: JSON.parse(row.headers ?? '{}') as Record<string, string>,
  }))
}
