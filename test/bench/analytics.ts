/**
 * How fast analytics stores and rolls up what is on the bus, into PostgreSQL, held against nothing but the rows inserted; and
 * how far behind it is when records keep coming. A thousand devices of five fields each.
 */

import pg from 'pg'
import type { Bus, BusRecord } from '../../cloud/bus/bus.ts'
import { DEVICE_TELEMETRY } from '../../cloud/bus/catalogue.ts'
import { systemClock as clock, sleep } from '../../shared/clock.ts'
import { type AnalyticsReport, startBus, startKafkaBus } from '../support/analytics-core.ts'
import { bunPath, type Child, startChild } from '../support/child.ts'
import { readingRecord } from '../support/device-records.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { usageOf } from '../support/process-usage.ts'
import { until } from '../support/until.ts'
import { backendsCpuMs } from './backends-cpu.ts'
import { benchKafka } from './bench-kafka.ts'
import { type Bench, type Figure, median, type Section } from './figure.ts'

const PROGRAM = new URL('../support/analytics-core.ts', import.meta.url).pathname
const DEVICES = 1_000
const RATE = 20_000
const REPORT_MS = 50
const ROLL_UP_DELAY_MS = 2_000
const PUBLISH_RECORDS = 5_000
const STUCK_MS = 180_000
/** As many as analytics stores at once when it is behind. */
const REFERENCE_ROWS = 3_000

export const analytics: Section = {
  name: 'analytics',
  title: 'Readings from the bus into PostgreSQL: stored, rolled up, and nothing but the rows',
  async run(bench) {
    const postgres = await startPostgres()
    if (postgres === null) {
      bench.skip('analytics: no PostgreSQL')
      return []
    }
    const kafka = await benchKafka(bench, 'analytics')
    const busDir = `${bench.dir}/analytics-bus`
    const bus = kafka === null ? await startBus(busDir) : await startKafkaBus(kafka.brokers)
    try {
      const busName = kafka === null ? busDir : `kafka:${kafka.brokers.join(',')}`
      const records = bench.quick ? 20_000 : 200_000
      const readings = new Readings(clock.wallMs() - 3_600_000, 1_000)
      bench.say(`publishing ${records} records`)
      for (let sent = 0; sent < records; sent += PUBLISH_RECORDS) {
        await bus.publish(DEVICE_TELEMETRY, readings.next(PUBLISH_RECORDS))
      }
      // The embedded bus has one process; Kafka serves both.
      if (kafka === null) await bus.stop(new AbortController().signal)
      const url = await postgres.freshUrl()
      const core = await startCore(bench, busName, url)
      try {
        const figures = await drained(bench, core, records)
        if (kafka !== null) figures.push(...(await sustained(bench, core, bus, records)))
        return [...figures, ...(await reference(bench, postgres, records))]
      } finally {
        await core.child.kill('SIGTERM')
      }
    } finally {
      await bus.stop(new AbortController().signal)
      await kafka?.stop()
      await postgres.stop()
    }
  },
}

type Cpu = Awaited<ReturnType<Core['cpuMs']>>

interface Core {
  readonly child: Child
  /** CPU time of it and of the server's processes that work for it, milliseconds. */
  cpuMs(): Promise<{ readonly core: number; readonly postgres: number }>
  report(): AnalyticsReport | null
}

async function startCore({ profileDir }: Bench, busName: string, databaseUrl: string): Promise<Core> {
  let report: AnalyticsReport | null = null
  const profiling = profileDir === undefined ? [] : ['--cpu-prof-md', `--cpu-prof-dir=${profileDir}`]
  const child = startChild({
    command: [bunPath, ...profiling, PROGRAM, busName, databaseUrl, String(REPORT_MS), String(ROLL_UP_DELAY_MS)],
    onLine: (line) => {
      if (line.startsWith('{')) report = JSON.parse(line) as AnalyticsReport
    },
  })
  await until(() => child.output().includes('started') || child.exit !== null, { timeoutMs: 60_000 })
  if (child.exit !== null) throw new Error(child.output())
  const cpuMs = async () => ({ core: usageOf(child.pid).cpuMs, postgres: await backendsCpuMs(databaseUrl) })
  return { child, cpuMs, report: () => report }
}

function cpuFigures(when: string, begin: Cpu, end: Cpu, records: number): Figure[] {
  const each = (ms: number): number => (ms * 1_000) / records
  return [
    { name: `CPU of the core, ${when}`, value: each(end.core - begin.core), unit: 'µs/record' },
    { name: `CPU of PostgreSQL, ${when}`, value: each(end.postgres - begin.postgres), unit: 'µs/record' },
  ]
}

/** What waits on the bus, stored and rolled up. */
async function drained(bench: Bench, { cpuMs, report }: Core, records: number): Promise<Figure[]> {
  bench.say('storing them')
  const first = await until(() => (report()?.records ?? 0) > 0, { timeoutMs: STUCK_MS }).then(() => report())
  const began = await cpuMs()
  const beganMs = performance.now()
  const done = records - (first?.records ?? 0)
  await until(() => (report()?.records ?? 0) >= records, { timeoutMs: STUCK_MS })
  const storedMs = performance.now() - beganMs
  await until(() => (report()?.rolledUpReadings ?? 0) >= records, { timeoutMs: STUCK_MS })
  const rolledUpMs = performance.now() - beganMs
  const ended = await cpuMs()
  const { storedReadings, duplicateReadings, writes } = report() as AnalyticsReport
  if (storedReadings !== records) throw new Error(`${storedReadings} readings stored of ${records}`)
  return [
    {
      name: 'stored, from a backlog on the bus',
      value: (done * 1_000) / storedMs,
      unit: 'records/s',
      aim: { atLeast: RATE },
      note: `${Math.round(records / writes)} records a transaction, ${duplicateReadings} came twice`,
    },
    {
      name: 'stored and rolled up',
      value: (done * 1_000) / rolledUpMs,
      unit: 'records/s',
      aim: { atLeast: RATE },
      note: `roll-ups gather for ${ROLL_UP_DELAY_MS} ms`,
    },
    ...cpuFigures('from a backlog', began, ended, done),
  ]
}

/** Records that keep coming. */
async function sustained(bench: Bench, { cpuMs, report }: Core, bus: Bus, before: number): Promise<Figure[]> {
  const seconds = bench.quick ? 2 : 10
  bench.say(`${RATE} records/s for ${seconds} s`)
  const readings = new Readings(clock.wallMs(), 1_000 / (RATE / DEVICES))
  const began = await cpuMs()
  const beganMs = performance.now()
  const lags: { stored: number; rolledUp: number }[] = []
  const inFlight = new Set<Promise<void>>()
  let sent = 0
  while (sent < RATE * seconds) {
    const due = Math.min(RATE * seconds, Math.floor(((performance.now() - beganMs) * RATE) / 1_000))
    for (; sent + DEVICES <= due; sent += DEVICES) {
      const publishing = bus.publish(DEVICE_TELEMETRY, readings.next(DEVICES)).finally(() => {
        inFlight.delete(publishing)
      })
      inFlight.add(publishing)
    }
    await sleep(clock, REPORT_MS)
    const { records, rolledUpReadings } = report() as AnalyticsReport
    lags.push({
      stored: ((before + sent - records) * 1_000) / RATE,
      rolledUp: ((before + sent - rolledUpReadings) * 1_000) / RATE,
    })
  }
  await Promise.all(inFlight)
  const sentMs = performance.now() - beganMs
  await until(() => (report()?.rolledUpReadings ?? 0) >= before + sent, { timeoutMs: STUCK_MS })
  const ended = await cpuMs()
  const half = lags.slice(lags.length / 2)
  return [
    { name: 'sustained, published', value: (sent * 1_000) / sentMs, unit: 'records/s' },
    { name: 'behind, median', value: median(half.map(({ stored }) => stored)), unit: 'ms' },
    {
      name: 'behind, at most',
      value: Math.max(...lags.map(({ stored }) => stored)),
      unit: 'ms',
      aim: { atMost: 2_000 },
      note: 'until stored',
    },
    {
      name: 'roll-ups behind, at most',
      value: Math.max(...lags.map(({ rolledUp }) => rolledUp)),
      unit: 'ms',
      aim: { atMost: ROLL_UP_DELAY_MS * 2 + 2_000 },
    },
    ...cpuFigures('sustained', began, ended, sent),
  ]
}

/** The same rows into one plain table with the same key, as fast as one connection can. */
async function reference(bench: Bench, postgres: TestPostgres, records: number): Promise<Figure[]> {
  bench.say('nothing but the rows')
  const client = new pg.Client({ connectionString: await postgres.freshUrl() })
  await client.connect()
  try {
    await client.query(
      'create table plain (device_id int, at_ms bigint, seq bigint, fields text, primary key (device_id, at_ms, seq))',
    )
    const rows = new Readings(clock.wallMs() - 3_600_000, 1_000)
    let elapsedMs = 0
    for (let done = 0; done < records; done += REFERENCE_ROWS) {
      const columns = rows.columns(Math.min(REFERENCE_ROWS, records - done))
      const beganMs = performance.now()
      await client.query(
        `insert into plain select * from unnest($1::int[], $2::bigint[], $3::bigint[], string_to_array($4, chr(1)))
         on conflict do nothing`,
        columns,
      )
      elapsedMs += performance.now() - beganMs
    }
    return [
      {
        name: 'reference: the rows alone, inserted',
        value: (records * 1_000) / elapsedMs,
        unit: 'records/s',
        note: `one connection, ${REFERENCE_ROWS} rows a statement; the server does not sync, here and above`,
      },
    ]
  } finally {
    await client.end()
  }
}

/** Readings of all devices in turn, so many milliseconds apart. */
class Readings {
  private readonly beginMs: number
  private readonly periodMs: number
  private made = 0

  constructor(beginMs: number, periodMs: number) {
    this.beginMs = beginMs
    this.periodMs = periodMs
  }

  next(count: number): BusRecord[] {
    return Array.from({ length: count }, () => {
      const { deviceId, atMs, seq, fields } = this.one()
      return readingRecord({ deviceId, atMs, fields, seq })
    })
  }

  /** As PostgreSQL reads arrays. */
  columns(count: number): string[] {
    const rows = Array.from({ length: count }, () => this.one())
    const array = (values: readonly number[]): string => `{${values.join(',')}}`
    return [
      array(rows.map(({ deviceId }) => deviceId)),
      array(rows.map(({ atMs }) => atMs)),
      array(rows.map(({ seq }) => seq)),
      rows.map(({ fields }) => JSON.stringify(fields)).join('\u0001'),
    ]
  }

  private one() {
    const i = this.made++
    const turn = Math.floor(i / DEVICES)
    const wave = Math.sin(i / 7)
    const fields = {
      powerKw: round(40 + 5 * wave),
      voltageV: round(230 + wave),
      currentA: round(100 - 3 * wave),
      frequencyHz: round(50 + wave / 50),
      temperatureC: round(35 + 2 * wave),
    }
    const atMs = Math.round(this.beginMs + turn * this.periodMs)
    return { deviceId: (i % DEVICES) + 1, atMs, seq: 1_000_000 + i, fields }
  }
}

function round(value: number): number {
  return Math.round(value * 1_000) / 1_000
}
