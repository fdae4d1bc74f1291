/** What a broker's death, silence and election do to what was published. */

import { afterEach, describe, expect, test } from 'vitest'
import type { ConsumedBatch, ConsumedRecord, Subscription } from '../../../../cloud/bus/bus.ts'
import { catalogue, DEVICE_TELEMETRY } from '../../../../cloud/bus/catalogue.ts'
import { KafkaBus } from '../../../../cloud/bus/kafka/kafka-bus.ts'
import type { KafkaSettings } from '../../../../cloud/bus/kafka/kafka-options.ts'
import { systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'
import { describeKafka, startKafka, type TestKafka } from '../../../support/kafka.ts'
import { accountFor, startNumberedLoad } from '../../../support/sequence-check.ts'
import { until } from '../../../support/until.ts'

const never = new AbortController().signal
const TIMEOUT_MS = 120_000
const cleanups: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function start(nodes: number): Promise<TestKafka> {
  const kafka = await startKafka({ nodes })
  cleanups.push(() => kafka.stop())
  return kafka
}

async function connect(kafka: TestKafka, settings: Partial<KafkaSettings> = {}): Promise<KafkaBus> {
  const bus = new KafkaBus({
    brokers: kafka.brokers,
    ...settings,
    topics: catalogue(),
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  })
  await bus.start()
  cleanups.push(() => bus.stop(AbortSignal.timeout(5_000)))
  await bus.createTopics()
  return bus
}

/** Everything of the topic, through a group of its own. */
async function readAll(bus: KafkaBus, group: string): Promise<ConsumedRecord[]> {
  const reader = await follow(bus, group)
  await finish(bus, reader)
  await reader.subscription.stop()
  return reader.records
}

interface Follower {
  readonly records: ConsumedRecord[]
  ends: number
  readonly subscription: Subscription
}

async function follow(bus: KafkaBus, group: string): Promise<Follower> {
  const records: ConsumedRecord[] = []
  const onBatch = async (batch: ConsumedBatch): Promise<void> => {
    for (const record of batch.records) {
      if (record.key?.startsWith('end') === true) follower.ends++
      else records.push(record)
    }
  }
  const follower = { records, ends: 0, subscription: { stop: async () => {} } as Subscription }
  follower.subscription = await bus.subscribe({ group, topics: [DEVICE_TELEMETRY], onBatch })
  return follower
}

/** Marks the end in every partition and waits until the follower has come to it. */
async function finish(bus: KafkaBus, follower: Follower): Promise<void> {
  const keys = Array.from({ length: 16 }, (_, i) => `end-${i}`)
  const before = follower.ends
  await bus.publish(
    DEVICE_TELEMETRY,
    keys.map((key) => ({ key, value: '' })),
  )
  await until(() => follower.ends >= before + keys.length, { timeoutMs: 60_000, what: 'the follower at the end' })
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

describeKafka('one broker', () => {
  test(
    'killed with -9 under load and started again: nothing confirmed is lost, each key keeps its order',
    async () => {
      const kafka = await start(1)
      const bus = await connect(kafka)
      const live = await follow(bus, 'live')
      const load = startNumberedLoad(bus, DEVICE_TELEMETRY, { keys: 12, batch: 25 })
      for (let round = 0; round < 2; round++) {
        await pause(1_500)
        const before = bus.stats().publishedRecords
        expect(before).toBeGreaterThan(0)
        await kafka.kill()
        await until(() => bus.health().state !== 'up')
        await kafka.restart()
        await until(() => bus.stats().publishedRecords > before + 2_000, { timeoutMs: 60_000 })
        expect(bus.health().state).not.toBe('down')
      }
      await load.stop()
      const records = await readAll(bus, 'afterwards')
      const account = accountFor(records, load.confirmed)
      expect(account).toMatchObject({ lost: 0, reordered: 0 })
      expect(load.republished).toBe(0)
      // The broker writes its memory of producers with the records, so even the killed one's duplicates are dropped.
      expect(account.duplicated % 25).toBe(0)
      // The consumer that lived through it all has everything as well.
      await finish(bus, live)
      expect(accountFor(live.records, load.confirmed)).toMatchObject({ lost: 0, reordered: 0 })
    },
    TIMEOUT_MS,
  )

  test(
    'gone for longer than a publish may take: rejects as retryable, and works again when it is back',
    async () => {
      const kafka = await start(1)
      const bus = await connect(kafka, { publishTimeoutMs: 1_500 })
      await bus.publish(DEVICE_TELEMETRY, [{ key: 'INV-0', value: '0' }])
      expect(bus.health()).toEqual({ state: 'up' })
      await kafka.kill()
      const publishing = [1, 2, 3].map((i) => bus.publish(DEVICE_TELEMETRY, [{ key: 'INV-0', value: String(i) }]))
      for (const outcome of await Promise.allSettled(publishing)) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'PUBLISH_TIMEOUT', retryable: true } })
      }
      await until(() => bus.stats().breaker !== 'closed')
      expect(bus.health()).toMatchObject({ state: 'down', detail: expect.stringContaining(kafka.brokers[0] as string) })
      expect(bus.stats()).toMatchObject({ queuedRecords: 0, queuedBytes: 0 })
      await kafka.restart()
      await until(
        () =>
          bus.publish(DEVICE_TELEMETRY, [{ key: 'INV-0', value: '1' }]).then(
            () => true,
            () => false,
          ),
        { timeoutMs: 60_000 },
      )
      await until(() => bus.health().state === 'up')
      const values = (await readAll(bus, 'afterwards')).map(({ value }) => value.toString())
      expect(values[0]).toBe('0')
      expect(values).toContain('1')
    },
    TIMEOUT_MS,
  )

  test(
    'that is silent but connected is noticed, and loses nothing when it wakes',
    async () => {
      const kafka = await start(1)
      const bus = await connect(kafka, { requestTimeoutMs: 1_000 })
      const load = startNumberedLoad(bus, DEVICE_TELEMETRY, { keys: 6, batch: 10 })
      await pause(500)
      kafka.freeze()
      await until(() => bus.health().state === 'down', { timeoutMs: 30_000 })
      kafka.thaw()
      const before = bus.stats().publishedRecords
      await until(() => bus.stats().publishedRecords > before + 500, { timeoutMs: 60_000 })
      await load.stop()
      const account = accountFor(await readAll(bus, 'afterwards'), load.confirmed)
      expect(account).toEqual({ lost: 0, duplicated: 0, reordered: 0 })
    },
    TIMEOUT_MS,
  )

  test(
    'away at the start: the bus starts, says so, and publishes when it comes',
    async () => {
      const kafka = await start(1)
      const first = await connect(kafka)
      await first.stop(never)
      await kafka.kill()
      const bus = new KafkaBus({
        brokers: kafka.brokers,
        topics: catalogue(),
        clock: systemClock,
        random: systemRandom,
        log: silentLogger,
      })
      await bus.start()
      cleanups.push(() => bus.stop(AbortSignal.timeout(5_000)))
      expect(bus.health().state).toBe('down')
      const publishing = bus.publish(DEVICE_TELEMETRY, [{ key: 'INV-0', value: '0' }])
      await kafka.restart()
      await publishing
      await until(() => bus.health().state === 'up')
    },
    TIMEOUT_MS,
  )
})

describeKafka('three brokers', () => {
  describe('with replication factor 3 and two in sync', () => {
    test(
      'one after the other killed under load: nothing lost, nothing twice, order kept',
      async () => {
        const kafka = await start(3)
        const bus = await connect(kafka, { replicationFactor: 3, minInsyncReplicas: 2 })
        expect(await bus.checkTopics()).toEqual([])
        const load = startNumberedLoad(bus, DEVICE_TELEMETRY, { keys: 12, batch: 25 })
        const goesOn = async (): Promise<void> => {
          const before = bus.stats().publishedRecords
          await until(() => bus.stats().publishedRecords > before + 2_000, { timeoutMs: 60_000 })
        }
        await goesOn()
        await kafka.kill(0)
        await goesOn()
        await kafka.restart(0)
        await kafka.kill(1)
        await goesOn()
        await load.stop()
        const account = accountFor(await readAll(bus, 'afterwards'), load.confirmed)
        expect(account).toEqual({ lost: 0, duplicated: 0, reordered: 0 })
      },
      TIMEOUT_MS,
    )
  })
})
