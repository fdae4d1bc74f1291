import { expect, test } from 'vitest'
import type { BusRecord } from '../../../cloud/bus/bus.ts'
import { Partitioner } from '../../../cloud/bus/partitioner.ts'
import { PublishError } from '../../../cloud/bus/publish-error.ts'
import { Batch } from '../../../cloud/ingest/batch.ts'
import { IngestCounters } from '../../../cloud/ingest/counters.ts'
import { Delivery } from '../../../cloud/ingest/delivery.ts'
import { systemClock } from '../../../shared/clock.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { until } from '../../support/until.ts'

const PARTITIONS = 3

/** A bus that stores what it can, and says which when a record goes to a partition without a leader, as Kafka's does. */
class LameBus {
  leaderless: number | null = 0
  readonly copies = new Map<string, number>()
  readonly byKey = new Map<string, string[]>()
  private readonly partitioner = new Partitioner()

  partitionOf(key: string): number {
    return this.partitioner.partitionOf(key, PARTITIONS)
  }

  publish(topic: string, records: readonly BusRecord[]): Promise<void> {
    const stored: number[] = []
    for (const [index, { key, value }] of records.entries()) {
      if (key === null || typeof value !== 'string') throw new Error('not of this test')
      if (this.partitionOf(key) === this.leaderless && topic === 'device-telemetry') continue
      stored.push(index)
      this.copies.set(`${topic} ${value}`, (this.copies.get(`${topic} ${value}`) ?? 0) + 1)
      this.byKey.set(key, [...(this.byKey.get(key) ?? []), value])
    }
    if (stored.length === records.length) return Promise.resolve()
    const failure = new BusbarError('no leader', { code: 'PUBLISH_TIMEOUT', retryable: true })
    return Promise.reject(new PublishError(failure, stored))
  }
}

test('while a partition has no leader, what goes to others is published once, and order holds', async () => {
  const bus = new LameBus()
  const saves: unknown[] = []
  const delivery = new Delivery({
    bus,
    cursors: {
      save: (update) => {
        saves.push(update)
        return Promise.resolve()
      },
    },
    registry: { storedStatuses: () => Promise.resolve(new Map()) },
    counters: new IngestCounters(),
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  })
  const batch = new Batch()
  const keys = Array.from({ length: 50 }, (_, i) => `INV-${i}`)
  for (let n = 0; n < 4; n++) {
    for (const key of keys) batch.add('device-telemetry', { key, value: `${key} ${n}` })
    batch.add('device-telemetry-dlt', { key: 'DLT-1', value: String(n) })
  }
  const origin = { gatewayId: 'gw-1', epoch: 'e' }
  const { signal } = new AbortController()
  const delivered = delivery.deliver(origin, batch, { priority: [], telemetry: [] }, signal)
  const healthy = keys.filter((key) => bus.partitionOf(key) !== 0)
  await until(() => healthy.every((key) => (bus.copies.get(`device-telemetry ${key} 3`) ?? 0) > 0))
  await Bun.sleep(500)
  expect(saves).toEqual([])
  bus.leaderless = null
  await delivered
  expect(saves.length).toBe(1)
  for (const key of healthy) expect(bus.copies.get(`device-telemetry ${key} 3`)).toBe(1)
  for (let n = 0; n < 4; n++) expect(bus.copies.get(`device-telemetry-dlt ${n}`)).toBe(1)
  for (const key of keys.filter((each) => bus.partitionOf(each) === 0)) {
    expect(bus.byKey.get(key)).toEqual([0, 1, 2, 3].map((n) => `${key} ${n}`))
  }
})
