/**
 * The activity log: how fast activities come from the API onto Kafka, beside the producer alone with the same records; and how
 * fast a backlog on Kafka is stored in PostgreSQL, beside nothing but the rows inserted. Everything in the same run.
 */

import pg from 'pg'
import { catalogue, USER_ACTIVITY_GROUP, USER_ACTIVITY_LOGS } from '../../cloud/bus/catalogue.ts'
import { KafkaBus } from '../../cloud/bus/kafka/kafka-bus.ts'
import { systemClock as clock } from '../../shared/clock.ts'
import { silentLogger as log } from '../../shared/log.ts'
import { systemRandom as random } from '../../shared/random.ts'
import type { CloudProcess } from '../support/cloud-process.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { usageOf } from '../support/process-usage.ts'
import { until } from '../support/until.ts'
import { ActivityLoad } from './activity-load.ts'
import { insertedAlone } from './activity-rows.ts'
import { backendsCpuMs } from './backends-cpu.ts'
import { type BenchKafka, benchKafka } from './bench-kafka.ts'
import type { Bench, Figure, Section } from './figure.ts'
import { benchCloud } from './programs.ts'

/** A partition, on the side of the consumer. */
const RATE = 10_000
/** Events of a request, and how many requests there are. */
const BATCHES = [
  [1, 4_000],
  [10, 1_500],
  [100, 500],
  [1_000, 100],
] as const
/** Requests that are under way at one time. */
const AT_ONCE = 16
const PUBLISH_RECORDS = 5_000
const STUCK_MS = 180_000
/** Nobody is alarmed by the load: what is measured is the log. */
const CONFIG = { activity: { suspicion: { commands: 0, failedLogins: 0 } } }

export const activity: Section = {
  name: 'activity',
  title: 'Activities from the API onto Kafka, and from Kafka into PostgreSQL',
  async run(bench) {
    const postgres = await startPostgres()
    if (postgres === null) {
      bench.skip('activity: no PostgreSQL')
      return []
    }
    const kafka = await benchKafka(bench, 'activity')
    if (kafka === null) {
      await postgres.stop()
      return []
    }
    const bus = new KafkaBus({ brokers: kafka.brokers, topics: catalogue(), clock, random, log })
    try {
      await bus.start()
      await bus.createTopics()
      const parts: Parts = { bench, bus, kafka, postgres }
      return [...(await taken(parts)), ...(await stored(parts, 0)), ...(await stored(parts, null))]
    } finally {
      await bus.stop(new AbortController().signal)
      await kafka.stop()
      await postgres.stop()
    }
  },
}

interface Parts {
  readonly bench: Bench
  readonly bus: KafkaBus
  readonly kafka: BenchKafka
  readonly postgres: TestPostgres
}

/** From the API onto the bus: posted in batches of several sizes, and published by the producer alone. */
async function taken({ bench, bus, kafka, postgres }: Parts): Promise<Figure[]> {
  const cloud = await startCore(bench, 'taken', kafka, await postgres.freshUrl())
  const load = new ActivityLoad('a1', clock.wallMs() - 3_600_000)
  const figures: Figure[] = []
  try {
    for (const [batch, all] of BATCHES) {
      bench.say(`API to Kafka, ${batch} at a time`)
      const requests = bench.quick ? all / 10 : all
      const url = `${cloud.apiUrl}/api/v1/activities`
      const bodies = Array.from({ length: requests }, () => JSON.stringify({ activities: load.next(batch) }))
      const api = await perSecond(bodies, batch, (body) => post(url, body))
      const groups = Array.from({ length: requests }, () => load.records(batch))
      const whole = await perSecond(groups, batch, (records) =>
        bus.publish(USER_ACTIVITY_LOGS, records, { atomic: true }),
      )
      const more = Array.from({ length: requests }, () => load.records(batch))
      const alone = await perSecond(more, batch, (records) => bus.publish(USER_ACTIVITY_LOGS, records))
      const name = `${batch === 1 ? 'one' : batch.toLocaleString('en-US')} a request`
      figures.push(
        { name: `API to Kafka, ${name}`, value: api, unit: 'events/s', note: `${AT_ONCE} requests at once` },
        { name: `producer alone, all or nothing, ${name}`, value: whole, unit: 'events/s' },
        { name: `producer alone, ${name}`, value: alone, unit: 'events/s' },
        { name: `ratio, ${name}`, value: api / whole, unit: '× producer, all or nothing' },
      )
    }
    bench.say('until the core has stored them')
    await until(async () => (await left(bus)) === 0, { timeoutMs: STUCK_MS, pollMs: 200, what: 'all is stored' })
    return figures
  } finally {
    await cloud.stop()
  }
}

async function post(url: string, body: string): Promise<void> {
  const answer = await fetch(url, { method: 'POST', body, headers: { 'content-type': 'application/json' } })
  if (answer.status !== 202) throw new Error(`${answer.status} ${await answer.text()}`)
  await answer.arrayBuffer()
}

/** Events a second. */
async function perSecond<T>(items: T[], each: number, send: (item: T) => Promise<unknown>): Promise<number> {
  const waiting = [...items]
  const worker = async (): Promise<void> => {
    for (let item = waiting.pop(); item !== undefined; item = waiting.pop()) await send(item)
  }
  const beganMs = performance.now()
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  return (items.length * each * 1_000) / (performance.now() - beganMs)
}

/** What waits on the bus, stored by one core; beside the same rows inserted by one statement after the other. */
async function stored({ bench, bus, kafka, postgres }: Parts, partition: number | null): Promise<Figure[]> {
  const where = partition === null ? 'three partitions' : 'one partition'
  const events = bench.quick ? 20_000 : 240_000
  if ((await left(bus)) > 0) throw new Error('events of before are not stored')
  bench.say(`publishing ${events} events to ${where}`)
  const begin = clock.wallMs() - 3_600_000
  const load = new ActivityLoad(partition === null ? 'b3' : 'b1', begin, partition)
  for (let sent = 0; sent < events; sent += PUBLISH_RECORDS) {
    await bus.publish(USER_ACTIVITY_LOGS, load.records(PUBLISH_RECORDS))
  }
  bench.say('storing them')
  const databaseUrl = await postgres.freshUrl()
  const cloud = await startCore(bench, `stored-${partition ?? 'all'}`, kafka, databaseUrl)
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    const count = async (): Promise<number> =>
      Number((await client.query('select coalesce(sum(entries), 0) as count from activity_days')).rows[0].count)
    const first = await until(count, { timeoutMs: STUCK_MS, pollMs: 20 })
    const before = { core: usageOf(cloud.pid).cpuMs, postgres: await backendsCpuMs(databaseUrl) }
    const beganMs = performance.now()
    await until(async () => (await count()) >= events, { timeoutMs: STUCK_MS, pollMs: 20, what: 'all is stored' })
    const rate = ((events - first) * 1_000) / (performance.now() - beganMs)
    const after = { core: usageOf(cloud.pid).cpuMs, postgres: await backendsCpuMs(databaseUrl) }
    await cloud.stop()
    bench.say('nothing but the rows')
    const rows = new ActivityLoad('c1', begin, partition).next(events / 2)
    const alone = await insertedAlone(databaseUrl, rows)
    const each = (ms: number): number => (ms * 1_000) / (events - first)
    return [
      {
        name: `Kafka to PostgreSQL, ${where}`,
        value: rate,
        unit: 'events/s',
        aim: { atLeast: RATE },
        note: 'one core',
      },
      { name: `rows alone, ${where}`, value: alone, unit: 'events/s', note: 'one connection, same indexes' },
      { name: `ratio, ${where}`, value: rate / alone, unit: '× rows alone' },
      { name: `CPU of the core, ${where}`, value: each(after.core - before.core), unit: 'µs/event' },
      { name: `CPU of PostgreSQL, ${where}`, value: each(after.postgres - before.postgres), unit: 'µs/event' },
    ]
  } finally {
    await client.end()
    await cloud.stop()
  }
}

/** Events that the processor has not stored. */
async function left(bus: KafkaBus): Promise<number> {
  const positions = await bus.positions(USER_ACTIVITY_GROUP, [USER_ACTIVITY_LOGS])
  return positions.reduce((sum, { nextOffset, endOffset }) => sum + Number(endOffset - nextOffset), 0)
}

function startCore(bench: Bench, name: string, kafka: BenchKafka, databaseUrl: string): Promise<CloudProcess> {
  const dir = `${bench.dir}/activity-${name}`
  return benchCloud(bench, { dir, kafkaBrokers: kafka.brokers, databaseUrl, config: CONFIG })
}
