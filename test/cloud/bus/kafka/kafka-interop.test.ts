/** Programs that others wrote read what is produced here, and write what is read here. */

import { execFile, execFileSync, spawn } from 'node:child_process'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import type { ConsumedRecord } from '../../../../cloud/bus/bus.ts'
import type { TopicSpec } from '../../../../cloud/bus/catalogue.ts'
import { COMPRESSIONS } from '../../../../cloud/bus/kafka/compression.ts'
import { KafkaBus } from '../../../../cloud/bus/kafka/kafka-bus.ts'
import { systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'
import { describeKafka, startKafka, type TestKafka } from '../../../support/kafka.ts'
import { kafkaJars } from '../../../support/kafka-jars.ts'
import { until } from '../../../support/until.ts'

const never = new AbortController().signal
const DAY_MS = 86_400_000
const KEYS = ['INV-001', 'INV-002', 'MTR-17', 'Zähler-9', 'a', '689dce4358cba50614cee678', 'k'.repeat(100)]
let kafka: TestKafka

const noKcat = ((): boolean => {
  try {
    execFileSync('kcat', ['-V'], { stdio: 'ignore' })
    return false
  } catch {
    if (process.env.CI === 'true') throw new Error('kcat is not installed (Debian: kafkacat)')
    process.stderr.write('SKIPPED: tests with kcat: it is not installed (Debian: kafkacat)\n')
    return true
  }
})()

function specOf(topic: string, partitions = 5): TopicSpec {
  return {
    topic,
    key: 'any',
    partitions,
    retentionMs: DAY_MS,
    cleanup: 'delete',
    producers: [],
    groups: [],
    deadLetterTopic: null,
  }
}

async function open(topic: string, compression: (typeof COMPRESSIONS)[number] = 'gzip'): Promise<KafkaBus> {
  const bus = new KafkaBus({
    brokers: kafka.brokers,
    compression,
    topics: [specOf(topic)],
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  })
  await bus.start()
  onTestFinished(() => bus.stop(never))
  await bus.createTopics()
  return bus
}

/** What kcat prints of a topic, in the given format. */
function kcatRead(topic: string, format: string): Promise<string> {
  const args = ['-b', kafka.brokers.join(','), '-C', '-t', topic, '-o', 'beginning', '-e', '-q', '-f', format]
  return new Promise((resolve, reject) => {
    execFile('kcat', args, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout) =>
      error ? reject(error) : resolve(stdout),
    )
  })
}

async function feed(command: string, args: string[], lines: string[]): Promise<void> {
  const child = spawn(command, args, { stdio: ['pipe', 'ignore', 'ignore'] })
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.stdin.end(`${lines.join('\n')}\n`)
  expect(await exited).toBe(0)
}

async function follow(bus: KafkaBus, topic: string): Promise<ConsumedRecord[]> {
  const records: ConsumedRecord[] = []
  await bus.subscribe({
    group: `check-${topic}`,
    topics: [topic],
    onBatch: async (batch) => void records.push(...batch.records),
  })
  return records
}

describeKafka('with other clients', () => {
  beforeAll(async () => {
    kafka = await startKafka()
  })
  afterAll(() => kafka?.stop())

  test.skipIf(noKcat)('kcat reads keys, values and headers as published', async () => {
    const bus = await open('kcat-reads')
    const value = '{"serialNumber":"INV-001","telemetryData":{"powerKw":45.2}}'
    await bus.publish('kcat-reads', [{ key: 'INV-001', value, headers: { gateway: 'gw-1', seq: '4294967297' } }])
    expect(await kcatRead('kcat-reads', '%k|%s|%h\n')).toBe(`INV-001|${value}|gateway=gw-1,seq=4294967297\n`)
  })

  test.skipIf(noKcat).each(COMPRESSIONS)(
    '%s: kcat reads what is produced, and produces what is read',
    async (codec) => {
      const topic = `codec-${codec}`
      const bus = await open(topic, codec)
      const values = Array.from({ length: 2_000 }, (_, i) => `{"powerKw":${i}.5,"note":"größer"}`)
      await bus.publish(
        topic,
        values.map((value) => ({ key: 'INV-001', value })),
      )
      expect(await kcatRead(topic, '%s\n')).toBe(`${values.join('\n')}\n`)
      await feed(
        'kcat',
        ['-b', kafka.brokers.join(','), '-P', '-t', topic, '-K', '\t', '-z', codec],
        values.map((value) => `kcat\t${value}`),
      )
      const records = await follow(bus, topic)
      await until(() => records.length === values.length * 2)
      const from = (key: string) => records.filter((record) => record.key === key).map(({ value }) => value.toString())
      expect(from('kcat')).toEqual(values)
      expect(from('INV-001')).toEqual(values)
    },
  )

  test.skipIf(noKcat)('a key goes to the partition that librdkafka and the Java client choose', async () => {
    const bus = await open('partitions')
    await bus.publish(
      'partitions',
      KEYS.map((key) => ({ key, value: 'here' })),
    )
    const brokers = kafka.brokers.join(',')
    const lines = (from: string) => KEYS.map((key) => `${key}\t${from}`)
    await feed(
      'kcat',
      ['-b', brokers, '-P', '-t', 'partitions', '-K', '\t', '-X', 'partitioner=murmur2_random'],
      lines('kcat'),
    )
    const java = [
      '-cp',
      `${await kafkaJars()}/*`,
      'org.apache.kafka.tools.ConsoleProducer',
      '--bootstrap-server',
      brokers,
    ]
    await feed('java', [...java, '--topic', 'partitions', '--reader-property', 'parse.key=true'], lines('java'))
    const rows = (await kcatRead('partitions', '%k\t%p\t%s\n'))
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t'))
    expect(rows.length).toBe(KEYS.length * 3)
    for (const key of KEYS) {
      expect(new Set(rows.filter(([name]) => name === key).map(([, partition]) => partition)).size).toBe(1)
    }
    expect(new Set(rows.map(([, partition]) => partition)).size).toBeGreaterThan(1)
  })

  test('a tail leaves no consumer group behind', async () => {
    const bus = await open('tailed')
    const tail = await bus.tail({ topics: ['tailed'], onBatch: async () => {} })
    const groups = async (): Promise<string> => {
      const java = ['-cp', `${await kafkaJars()}/*`, 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand']
      return execFileSync('java', [...java, '--bootstrap-server', kafka.brokers.join(','), '--list']).toString()
    }
    expect(await groups()).toContain('busbar-tail-')
    await tail.stop()
    expect(await groups()).not.toContain('busbar-tail-')
  })
})
