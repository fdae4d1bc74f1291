/** What only the embedded log has to prove: its file. */

import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { ConsumedRecord } from '../../../../cloud/bus/bus.ts'
import { catalogue, DEVICE_TELEMETRY, TYPING_EVENTS } from '../../../../cloud/bus/catalogue.ts'
import { EmbeddedBus } from '../../../../cloud/bus/embedded/embedded-bus.ts'
import type { EmbeddedBusOptions } from '../../../../cloud/bus/embedded/embedded-options.ts'
import { type Clock, systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'
import { openSqlite } from '../../../../shared/sqlite.ts'
import { accountFor } from '../../../support/sequence-check.ts'
import { tempDir } from '../../../support/temp-dir.ts'
import { until } from '../../../support/until.ts'

const never = new AbortController().signal

async function open(dir: string, options: Partial<EmbeddedBusOptions> = {}): Promise<EmbeddedBus> {
  const bus = new EmbeddedBus({
    dir,
    topics: catalogue(),
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    ...options,
  })
  await bus.start()
  onTestFinished(() => bus.stop(never))
  await bus.createTopics()
  return bus
}

async function collect(bus: EmbeddedBus, group: string, topic = DEVICE_TELEMETRY): Promise<ConsumedRecord[]> {
  const records: ConsumedRecord[] = []
  await bus.subscribe({ group, topics: [topic], onBatch: async (batch) => void records.push(...batch.records) })
  return records
}

const valuesOf = (records: ConsumedRecord[]): number[] => records.map(({ value }) => Number(value.toString()))

test('killed with -9 while it publishes: every confirmed record is there, in the order of its key', async () => {
  const dir = await tempDir()
  const confirmed = new Map<string, number>()
  for (let round = 0; round < 3; round++) {
    confirmed.clear()
    const roundDir = join(dir, String(round))
    const script = new URL('../../../support/embedded-bus-writer.ts', import.meta.url).pathname
    const writer = spawn(process.execPath, [script, roundDir], { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    writer.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
    await until(() => output.length > 2_000 * (round + 1))
    writer.kill('SIGKILL')
    await new Promise((resolve) => writer.stdout.once('close', resolve))
    for (const line of output.split('\n').slice(0, -1)) {
      const [key, last] = line.split(' ')
      confirmed.set(key as string, Number(last))
    }
    const bus = await open(roundDir)
    const records = await collect(bus, 'check')
    await until(() => accountFor(records, confirmed).lost === 0)
    expect(accountFor(records, confirmed)).toEqual({ lost: 0, duplicated: 0, reordered: 0 })
    await bus.stop(never)
  }
})

test('records past the retention of their topic go, those of others stay, and offsets go on', async () => {
  const dir = await tempDir()
  let aheadMs = 0
  const clock: Clock = { ...systemClock, wallMs: () => systemClock.wallMs() + aheadMs }
  const bus = await open(dir, { clock, retentionPeriodMs: 20 })
  const record = [{ key: 'k', value: '1' }]
  await bus.publish(TYPING_EVENTS, record)
  await bus.publish(DEVICE_TELEMETRY, record)
  aheadMs = 61_000
  await until(async () => {
    const probe = await collect(bus, `probe-${Math.random()}`, TYPING_EVENTS)
    await new Promise((resolve) => setTimeout(resolve, 30))
    return probe.length === 0
  })
  await bus.publish(TYPING_EVENTS, [{ key: 'k', value: '2' }])
  const typing = await collect(bus, 'late', TYPING_EVENTS)
  const telemetry = await collect(bus, 'late')
  await until(() => typing.length === 1 && telemetry.length === 1)
  expect(typing[0]).toMatchObject({ offset: 1n, key: 'k' })
})

test('above its size the oldest records go first, and readers go on behind them', async () => {
  const dir = await tempDir()
  const bytesMax = 200_000
  const bus = await open(dir, { bytesMax, retentionPeriodMs: 20 })
  for (let i = 0; i < 60; i++) {
    // Random bytes do not compress.
    const value = Buffer.from(systemRandom.bytes(10_000))
    await bus.publish(DEVICE_TELEMETRY, [{ key: 'INV-0', value, headers: { n: String(i) } }])
  }
  await until(async () => {
    const records = await collect(bus, `probe-${Math.random()}`)
    await until(() => records.some(({ headers }) => headers.n === '59'))
    return records.length * 10_000 <= bytesMax && records.length
  })
  const kept = await collect(bus, 'kept')
  await until(() => kept.some(({ headers }) => headers.n === '59'))
  const numbers = kept.map(({ headers }) => Number(headers.n))
  expect(numbers).toEqual(Array.from({ length: kept.length }, (_, i) => 60 - kept.length + i))
})

test('a stored batch that fails its checksum is skipped, and health says so', async () => {
  const dir = await tempDir()
  const bus = await open(dir)
  for (const value of ['0', '1', '2']) await bus.publish(DEVICE_TELEMETRY, [{ key: 'INV-0', value }])
  await bus.stop(never)
  const database = openSqlite(join(dir, 'bus.sqlite'))
  const changed = database.prepare("UPDATE batches SET body = x'0100' WHERE base_offset = 1").run()
  expect(changed.changes).toBe(1)
  database.close()
  const again = await open(dir)
  const records = await collect(again, 'check')
  await until(() => records.length === 2)
  expect(valuesOf(records)).toEqual([0, 2])
  expect(again.health()).toMatchObject({ state: 'degraded', detail: expect.stringContaining('checksum') })
})

test('a second process is refused, told what to do', async () => {
  const dir = await tempDir()
  await open(dir)
  const second = new EmbeddedBus({
    dir,
    topics: catalogue(),
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  })
  await expect(second.start()).rejects.toMatchObject({
    code: 'BUS_STORE_LOCKED',
    hint: expect.stringContaining('Kafka'),
  })
})

test('a commit that fails rejects as retryable, keeps health down until one succeeds, and keeps order', async () => {
  const dir = await tempDir()
  const bus = await open(dir)
  await bus.publish(DEVICE_TELEMETRY, [{ key: 'INV-0', value: '0' }])
  await bus.stop(never)
  const database = openSqlite(join(dir, 'bus.sqlite'))
  database.exec(
    "CREATE TRIGGER refuse BEFORE INSERT ON batches WHEN NEW.record_count = 13 BEGIN SELECT RAISE(ABORT, 'no'); END",
  )
  database.close()
  const again = await open(dir)
  const thirteen = Array.from({ length: 13 }, (_, i) => ({ key: 'INV-0', value: String(100 + i) }))
  await expect(again.publish(DEVICE_TELEMETRY, thirteen)).rejects.toMatchObject({ retryable: true })
  expect(again.health()).toMatchObject({ state: 'down' })
  await again.publish(DEVICE_TELEMETRY, [{ key: 'INV-0', value: '1' }])
  expect(again.health()).toEqual({ state: 'up' })
  const records = await collect(again, 'check')
  await until(() => records.length === 2)
  expect(valuesOf(records)).toEqual([0, 1])
  expect(records.map(({ offset }) => offset)).toEqual([0n, 1n])
})
