/**
 * Questions about telemetry over REST, on a week of 100 devices with a reading a minute, beside a bare `select` of the same
 * rows through the same driver: what choosing, merging and writing the answer costs. The two take turns. The server runs in
 * this process, so the client's share is in every figure.
 */

import { join } from 'node:path'
import { sql } from 'kysely'
import { createRouter } from '../../cloud/api/http/router.ts'
import { latestRoutes } from '../../cloud/api/routes/latest.ts'
import { telemetryRoutes } from '../../cloud/api/routes/telemetry.ts'
import { type DatabaseHandle, openDatabase } from '../../cloud/database/database.ts'
import { LOCAL_CALLER } from '../../cloud/identity/identity.ts'
import { Registry } from '../../cloud/registry/registry.ts'
import { LatestStore } from '../../cloud/telemetry/latest-store.ts'
import { TelemetryQueries } from '../../cloud/telemetry/telemetry.ts'
import { systemClock as clock } from '../../shared/clock.ts'
import { silentLogger as log } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { LatencyHistogram } from '../support/latency-histogram.ts'
import { startPostgres } from '../support/postgres.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { DAY_MS, makeWeek, siteAndSerial, type WeekOptions, writeWeek } from '../support/week-of-readings.ts'
import type { Bench, Figure, Section } from './figure.ts'

const SETTINGS = {
  rawDays: 30,
  rollup1mDays: 90,
  rollup15mDays: 730,
  rollup1hDays: 3_650,
  rollup1dDays: 36_500,
  rollUpDelayMs: 2_000,
  seriesPointsMax: 5_000,
  seriesMax: 50,
}

export const queries: Section = {
  name: 'queries',
  title: 'Questions about a week of telemetry, and a bare select of the same rows',
  async run(bench) {
    const figures: Figure[] = []
    const postgres = await startPostgres()
    try {
      if (postgres === null) bench.skip('queries: PostgreSQL does not start here')
      else figures.push(...(await measureOn(bench, 'PostgreSQL', await postgres.freshUrl())))
    } finally {
      await postgres?.stop()
    }
    figures.push(...(await measureOn(bench, 'SQLite', `sqlite:${join(bench.dir, 'queries.db')}`)))
    return figures
  },
}

async function measureOn(bench: Bench, name: string, url: string): Promise<Figure[]> {
  const nowMs = Math.floor(clock.wallMs() / 60_000) * 60_000
  const devices = bench.quick ? 20 : 100
  const options: WeekOptions = {
    seed: 7,
    devices,
    periodMs: () => 60_000,
    fromMs: nowMs - 7 * DAY_MS,
    toMs: nowMs,
    rolledUpToMs: nowMs,
  }
  const database = openDatabase({ url, clock, log })
  await database.start()
  try {
    bench.say(`${name}: writing the week of ${devices} devices`)
    const week = makeWeek(options)
    await writeWeek(database, week, options)
    await writeLatest(database, devices, nowMs)
    const server = await serve(database)
    try {
      bench.say(`${name}: asking`)
      const measured = { base: server.base, database, devices, nowMs, random: seededRandom(11) }
      return [...(await latencies(bench, name, measured)), ...(await exportRates(bench, name, measured))]
    } finally {
      await server.stop()
    }
  } finally {
    await database.stop()
  }
}

async function serve(database: DatabaseHandle): Promise<{ readonly base: string; stop(): Promise<void> }> {
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, clock, log })
  const analytics = { stats: () => ({ failing: null, behindMs: 0 }) }
  const telemetry = new TelemetryQueries({ database, registry, settings: SETTINGS, analytics, clock, log })
  const latest = new LatestStore(database)
  const app = createRouter({
    routes: [...telemetryRoutes({ telemetry, registry, latest, clock }), ...latestRoutes({ registry, latest })],
    context: { bodyBytesMax: 1_024, once: () => Promise.reject(new Error('nothing here has an idempotency key')) },
    origins: { allowedOrigins: [], publicUrl: null, knowsHost: () => true },
    arrivalOf: () => ({ address: '127.0.0.1', secure: false, host: null }),
    callerOf: () => Promise.resolve(LOCAL_CALLER),
    clock,
    log,
    onAnswer: () => undefined,
    onRefused: () => undefined,
  })
  app.listen({ hostname: '127.0.0.1', port: 0 })
  return { base: `http://127.0.0.1:${app.server?.port}/api/v1`, stop: async () => void (await app.server?.stop(true)) }
}

async function writeLatest(database: DatabaseHandle, devices: number, nowMs: number): Promise<void> {
  const telemetry = JSON.stringify({
    powerKw: [50, nowMs],
    voltage: [400, nowMs],
    temperature: [20, nowMs],
    mode: ['auto', nowMs],
  })
  const rows = Array.from({ length: devices }, (_, device) => {
    const { siteId, serialNumber } = siteAndSerial(device)
    const times = { event_at_ms: nowMs, received_at_ms: nowMs, heard_at_ms: nowMs }
    return { device_id: device + 1, site_id: siteId, serial_number: serialNumber, telemetry, ...times }
  })
  await database.kysely.insertInto('latest_values').values(rows).execute()
}

interface Measured {
  readonly base: string
  readonly database: DatabaseHandle
  readonly devices: number
  readonly nowMs: number
  readonly random: Random
}

interface Kind {
  readonly name: string
  readonly path: (device: number) => string
  readonly select: (device: number) => Promise<unknown>
}

async function latencies(bench: Bench, name: string, measured: Measured): Promise<Figure[]> {
  const figures: Figure[] = []
  const rounds = bench.quick ? 20 : 300
  for (const { name: kind, path, select } of kindsOf(measured)) {
    const [rest, bare] = [new LatencyHistogram(), new LatencyHistogram()]
    for (let round = -5; round < rounds; round++) {
      const device = 1 + Math.floor(measured.random.fraction() * measured.devices)
      const asked = await timed(async () => {
        const response = await fetch(`${measured.base}${path(device)}`)
        const text = await response.text()
        if (response.status !== 200) throw new Error(text)
      })
      const selected = await timed(() => select(device))
      // The first ones prepare statements and warm caches.
      if (round < 0) continue
      rest.record(asked)
      bare.record(selected)
    }
    const [ours, reference] = [rest.summary(), bare.summary()]
    const note = `bare select: p50 ${reference.p50Ms.toPrecision(3)} ms, p99 ${reference.p99Ms.toPrecision(3)} ms`
    figures.push({ name: `${name}: ${kind}, p50`, value: ours.p50Ms, unit: 'ms', note })
    figures.push({ name: `${name}: ${kind}, p99`, value: ours.p99Ms, unit: 'ms' })
  }
  return figures
}

function kindsOf({ database, nowMs, devices }: Measured): Kind[] {
  const time = (ms: number) => new Date(ms).toISOString()
  const series = (query: string, days: number) =>
    `/telemetry/series?${query}&from=${time(nowMs - days * DAY_MS)}&to=${time(nowMs)}`
  const { kysely } = database
  const rollups = (table: 'rollups_15m' | 'rollups_1h', ids: readonly number[]) =>
    kysely
      .selectFrom(table)
      .select(['device_id', 'bucket_ms', 'fields'])
      .where('device_id', 'in', [...ids])
      .where('bucket_ms', '>=', nowMs - 31 * DAY_MS)
      .execute()
  const ten = (device: number) => Array.from({ length: 10 }, (_, i) => ((device + i) % devices) + 1)
  const siteOf = (device: number) => siteAndSerial(device - 1).siteId
  return [
    {
      name: 'last day raw, 1 device',
      path: (device) => series(`deviceId=${device}&field=powerKw&resolution=raw&maxPoints=2000`, 1),
      select: (device) =>
        kysely
          .selectFrom('readings')
          .select(['device_id', 'at_ms', 'seq', 'fields'])
          .where('device_id', '=', device)
          .where('at_ms', '>=', nowMs - DAY_MS)
          .where('at_ms', '<', nowMs)
          .execute(),
    },
    {
      name: 'week auto, 500 points, 2 fields',
      path: (device) => series(`deviceId=${device}&field=powerKw,voltage&maxPoints=500`, 7),
      select: (device) => rollups('rollups_15m', [device]),
    },
    {
      name: 'month at 1h, 10 devices',
      path: (device) => series(`deviceId=${ten(device).join(',')}&field=powerKw&resolution=1h&maxPoints=1000`, 29),
      select: (device) => rollups('rollups_1h', ten(device)),
    },
    {
      name: 'latest of a site of 10',
      path: (device) => `/sites/${siteOf(device)}/latest`,
      select: (device) =>
        kysely.selectFrom('latest_values').selectAll().where('site_id', '=', siteOf(device)).execute(),
    },
    {
      name: 'completeness of a device, week',
      path: (device) => `/devices/${device}/completeness?from=${time(nowMs - 7 * DAY_MS)}&to=${time(nowMs)}`,
      select: (device) =>
        kysely
          .selectFrom('rollups_1h')
          .select(['bucket_ms', 'records'])
          .where('device_id', '=', device)
          .where('bucket_ms', '>=', nowMs - 7 * DAY_MS)
          .execute(),
    },
  ]
}

async function exportRates(bench: Bench, name: string, { base, database, nowMs }: Measured): Promise<Figure[]> {
  const from = new Date(nowMs - 7 * DAY_MS).toISOString()
  const figures: Figure[] = []
  const rounds = bench.quick ? 1 : 3
  for (const format of ['csv', 'ndjson']) {
    const [mibPerSecond, bareMs]: [number[], number[]] = [[], []]
    for (let round = 0; round < rounds; round++) {
      let bytes = 0
      const ms = await timed(async () => {
        const response = await fetch(`${base}/telemetry/export?format=${format}&siteId=1&from=${from}`)
        for await (const chunk of response.body ?? []) bytes += chunk.byteLength
      })
      mibPerSecond.push(bytes / 2 ** 20 / (ms / 1000))
      bareMs.push(ms / (await timed(() => selectSite(database))))
    }
    const note = `a site of 10 devices; ${Math.max(...bareMs).toPrecision(2)} × the time of the bare selects at most`
    figures.push({ name: `${name}: export, ${format}`, value: Math.max(...mibPerSecond), unit: 'MiB/s', note })
  }
  return figures
}

async function selectSite({ kysely }: DatabaseHandle): Promise<void> {
  for (let device = 1; device <= 10; device++) {
    await sql`select at_ms, seq, fields from readings where device_id = ${device} order by at_ms, seq`.execute(kysely)
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  await work()
  return performance.now() - startMs
}
