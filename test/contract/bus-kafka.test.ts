import { expect, onTestFinished, test } from 'vitest'
import { COMMAND_EVENTS, catalogue } from '../../cloud/bus/catalogue.ts'
import { KafkaBus } from '../../cloud/bus/kafka/kafka-bus.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { describeKafka, startKafka } from '../support/kafka.ts'
import { numbered, relayOver } from '../support/outbox-relay.ts'
import { readTopics } from '../support/topic-reader.ts'
import { until } from '../support/until.ts'
import { busSuite } from './bus-suite.ts'

describeKafka('with a real broker', () => {
  busSuite(async () => {
    const kafka = await startKafka()
    return {
      create: (options) =>
        new KafkaBus({
          brokers: kafka.brokers,
          ...options,
          clock: systemClock,
          random: systemRandom,
          log: silentLogger,
        }),
      dispose: () => kafka.stop(),
    }
  })
})

describeKafka('with a broker that goes away', () => {
  test('the outbox keeps what is to be published, and publishes all of it in order afterwards', {
    timeout: 120_000,
  }, async () => {
    const kafka = await startKafka({ nodes: 1 })
    onTestFinished(() => kafka.stop())
    const bus = new KafkaBus({
      brokers: kafka.brokers,
      publishTimeoutMs: 1_500,
      topics: catalogue(),
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
    })
    await bus.start()
    onTestFinished(() => bus.stop(AbortSignal.timeout(3_000)))
    await bus.createTopics()
    const database = openDatabase({ url: 'memory:', clock: systemClock, log: silentLogger })
    await database.start()
    onTestFinished(() => database.stop())
    const { relay, append } = relayOver(database, bus)
    await relay.start()
    await append(numbered(COMMAND_EVENTS, 50, 5))
    await until(() => relay.stats().published === 50)
    await kafka.kill()
    for (let from = 50; from < 1_050; from += 100) await append(numbered(COMMAND_EVENTS, 100, 5, from))
    await until(() => relay.stats().failing !== null, { timeoutMs: 30_000 })
    // Long enough for several attempts; none counts against a row.
    await new Promise((resolve) => setTimeout(resolve, 4_000))
    expect(relay.stats()).toMatchObject({
      published: 50,
      setAside: 0,
      failing: expect.stringContaining(COMMAND_EVENTS),
    })
    const failed = await database.kysely.selectFrom('outbox').select('id').where('failures', '>', 0).execute()
    expect(failed).toEqual([])
    await kafka.restart()
    await until(() => relay.stats().published === 1_050, { timeoutMs: 60_000 })
    expect(relay.stats().failing).toBe(null)
    const { records } = await readTopics(bus, [COMMAND_EVENTS])
    await until(() => new Set(records.map(({ value }) => String(value))).size === 1_050)
    for (let key = 0; key < 5; key++) {
      // An attempt that timed out may have been stored; what counts is the order in which each came first.
      const numbers = [
        ...new Set(records.filter((each) => each.key === `key-${key}`).map(({ value }) => Number(value))),
      ]
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b))
    }
  })
})
