/**
 * The changes of a device's status are one sequence, whoever finds them: two cores that take reports in, the watch over silent
 * devices, what is heard, and analytics that writes back what it reads, late and twice.
 */

import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { BusRecord } from '../../../cloud/bus/bus.ts'
import { Batch } from '../../../cloud/ingest/batch.ts'
import { IngestCounters } from '../../../cloud/ingest/counters.ts'
import { CursorStore } from '../../../cloud/ingest/cursors.ts'
import { Delivery } from '../../../cloud/ingest/delivery.ts'
import { DEVICE_STATUSES, type DeviceStatus } from '../../../cloud/registry/device.ts'
import { SilenceWatch } from '../../../cloud/status/status.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { devicesBehind, hello, outboxRecords, type StatusCore, statusCore } from '../../support/status-core.ts'

type Step =
  | { readonly do: 'report'; readonly core: 0 | 1; readonly status: DeviceStatus; readonly clockAheadMs: number }
  | { readonly do: 'silence' | 'hear' | 'readBack' }

interface Change {
  readonly previousStatus: DeviceStatus
  readonly newStatus: DeviceStatus
  readonly timestamp: string
}

const INTERVAL_MS = 10_000
/** What every device goes through. */
const FIRST: readonly Step[] = [
  { do: 'report', core: 1, status: 'ONLINE', clockAheadMs: 0 },
  { do: 'silence' },
  { do: 'report', core: 1, status: 'ONLINE', clockAheadMs: 0 },
  { do: 'silence' },
  { do: 'hear' },
]
const signal = new AbortController().signal

await describeOnEveryDatabase('the sequence of a status', (database) => {
  it('has no gap, whoever finds the changes', { timeout: 60_000 }, async () => {
    const url = await database.freshUrl()
    const clock = new ManualClock()
    const handle = await database.open({ url })
    const cores = [statusCore(handle, clock), statusCore(await database.open({ url }), clock, 'core-2')] as const
    const settings = { silentAfterMs: INTERVAL_MS, silentAfterMsByType: {} }
    const watch = new SilenceWatch({ ...cores[0].common, settings, checkPeriodMs: 1_000 })
    await cores[0].registry.gatewayConnected(hello('gw-1'))
    await watch.look(signal, 0)
    clock.advance(INTERVAL_MS)
    let devices = 0

    const step: fc.Arbitrary<Step> = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({
          do: fc.constant('report' as const),
          core: fc.constantFrom(0 as const, 1 as const),
          status: fc.constantFrom('ONLINE' as const, 'ONLINE' as const, ...DEVICE_STATUSES),
          clockAheadMs: fc.constantFrom(0, 0, -3_000, 2_000),
        }),
      },
      {
        weight: 4,
        arbitrary: fc.record({ do: fc.constantFrom('silence' as const, 'hear' as const, 'readBack' as const) }),
      },
    )

    await fc.assert(
      fc.asyncProperty(fc.array(step, { size: 'max', maxLength: 25 }), async (steps) => {
        const serialNumber = `S-${++devices}`
        const [id] = (await devicesBehind(cores[0], 'gw-1', [serialNumber])) as [number]
        const topic: Change[] = []
        const publish = (records: readonly BusRecord[]) => {
          for (const { value } of records) topic.push(JSON.parse(value as string))
        }
        for (const each of [...FIRST, ...steps]) {
          clock.advance(1)
          if (each.do === 'report') await report(cores[each.core], clock, serialNumber, each, publish)
          else if (each.do === 'silence') {
            clock.advance(INTERVAL_MS + 3_000)
            await handle.kysely.updateTable('gateways').set({ last_seen_at_ms: clock.wallMs() }).execute()
            await watch.look(signal, 10 * INTERVAL_MS)
          } else if (each.do === 'hear') {
            await handle.transaction((transaction) => watch.heard(new Map([[id, clock.wallMs()]]), transaction))
          } else {
            await handle.transaction(async (transaction) => {
              const changes = topic.map(({ newStatus, timestamp }) => ({
                deviceId: id,
                status: newStatus,
                atMs: Date.parse(timestamp),
              }))
              for (const change of changes) await cores[1].registry.writeStatuses([change], transaction, 'keep')
            })
          }
          for (const { key, value } of await outboxRecords(handle)) if (key === serialNumber) topic.push(value)
          await handle.kysely.deleteFrom('outbox').execute()
          const device = await cores[0].registry.devices.get(id)
          const last = topic.at(-1)
          if (last !== undefined) expect(device?.status).toBe(last.newStatus)
          // Silent is only who is OFFLINE for it, and who is silent comes back with the next word.
          if (device?.silentSinceMs !== null) expect(device?.status).toBe('OFFLINE')
        }
        for (const [i, change] of topic.entries()) {
          expect(change.previousStatus).toBe(topic[i - 1]?.newStatus ?? 'OFFLINE')
          expect(change.newStatus).not.toBe(change.previousStatus)
        }
      }),
      { numRuns: 30 },
    )
    expect(watch.stats().fellSilent).toBeGreaterThanOrEqual(2 * 30)
    expect(watch.stats().restored).toBeGreaterThanOrEqual(30)
  })
})

/** A status report of a device, as a gateway's stream on this core takes it in. */
async function report(
  { registry, database, common }: StatusCore,
  clock: ManualClock,
  serialNumber: string,
  { status, clockAheadMs }: { readonly status: DeviceStatus; readonly clockAheadMs: number },
  publish: (records: readonly BusRecord[]) => void,
): Promise<void> {
  const commands = { record: () => Promise.resolve(), nudge: () => undefined }
  const cursors = new CursorStore({ database, registry, commands, clock })
  const delivery = new Delivery({
    ...common,
    registry,
    cursors,
    counters: new IngestCounters(),
    bus: { publish: (_, records) => Promise.resolve(publish(records)) },
  })
  const [device] = await registry.load('gw-1', [{ siteId: 1, serialNumber }])
  if (device == null) throw new Error('the device is registered')
  const batch = new Batch()
  const time = { ms: clock.wallMs() + clockAheadMs, refused: null }
  batch.statuses.push({ device, report: { status, reason: 'said so', time }, headers: {} })
  batch.cover('priority', { first: 1, last: 1 })
  await delivery.deliver({ gatewayId: 'gw-1', epoch: 'e' }, batch, { priority: [], telemetry: [] }, signal)
}
