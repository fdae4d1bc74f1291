import { expect, onTestFinished, test } from 'vitest'
import { catalogue } from '../../cloud/bus/catalogue.ts'
import { deadLetters as lettersOf } from '../../cloud/bus/dead-letter.ts'
import { KafkaBus } from '../../cloud/bus/kafka/kafka-bus.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { deadLetterCore } from '../support/dead-letter-core.ts'
import { describeKafka, startKafka } from '../support/kafka.ts'
import { readTopics } from '../support/topic-reader.ts'
import { until } from '../support/until.ts'

describeKafka('dead letters with a real broker', () => {
  test('are listed whoever wrote them, and replayed to the topic that they came from', {
    timeout: 90_000,
  }, async () => {
    const kafka = await startKafka()
    onTestFinished(() => kafka.stop())
    const common = { clock: systemClock, random: systemRandom, log: silentLogger }
    const bus = new KafkaBus({ brokers: kafka.brokers, topics: catalogue(), ...common })
    await bus.start()
    onTestFinished(() => bus.stop(AbortSignal.timeout(3_000)))
    await bus.createTopics()
    const database = openDatabase({ url: 'memory:', ...common })
    await database.start()
    onTestFinished(() => database.stop())

    const value = Buffer.from('{"content":"é","n":1e400}')
    const [letter] = lettersOf(
      { topic: 'chat-messages', partition: 2, offset: 7n, key: 'c', value, headers: { own: 'é' }, timestampMs: 1 },
      { source: 'communication-service-group', code: 'X', message: 'why', retryCount: 3, atMs: 1 },
    )
    await bus.publish('chat-messages-dlt', [letter as NonNullable<typeof letter>])
    await bus.publish('user-activity-logs-dlq', [
      { key: null, value: Buffer.from([0xff, 0]), headers: { 'a\0': '\0' } },
    ])
    const { deadLetters } = await deadLetterCore(database, { bus })
    await until(() => deadLetters.stats().indexed === 2, { timeoutMs: 60_000 })
    const { items } = await deadLetters.list()
    expect(items.map(({ originalTopic, code }) => `${originalTopic} ${code}`).toSorted()).toEqual([
      'chat-messages X',
      'user-activity-logs UNREADABLE',
    ])
    const reader = await readTopics(bus, ['chat-messages'])
    const { results } = await deadLetters.replay({ filter: { topic: 'chat-messages' } })
    expect(results).toMatchObject([{ outcome: 'REPLAYED', bytes: value.length }])
    await until(() => reader.records.length === 1, { timeoutMs: 60_000 })
    expect(reader.records[0]?.value.equals(value)).toBe(true)
    expect(reader.records[0]).toMatchObject({ key: 'c', headers: { own: 'é', replayOf: results[0]?.id } })
  })
})
