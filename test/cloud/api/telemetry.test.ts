import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { sql } from 'kysely'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type TelemetryRoutesOptions, telemetryRoutes } from '../../../cloud/api/routes/telemetry.ts'
import { DEVICE_TELEMETRY } from '../../../cloud/bus/catalogue.ts'
import { type DatabaseHandle, openDatabase } from '../../../cloud/database/database.ts'
import { Registry } from '../../../cloud/registry/registry.ts'
import { LatestStore } from '../../../cloud/telemetry/latest-store.ts'
import { TelemetryQueries } from '../../../cloud/telemetry/telemetry.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { analyticsSettings } from '../../support/analytics-core.ts'
import { startApiCore } from '../../support/api-core.ts'
import { type AnyJson, getJson } from '../../support/json-request.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'

const SETTINGS = {
  rawDays: 36_500,
  rollup1mDays: 36_500,
  rollup15mDays: 36_500,
  rollup1hDays: 36_500,
  rollup1dDays: 36_500,
  // Nothing is rolled up meanwhile: what is seen at every resolution are the readings themselves.
  rollUpDelayMs: analyticsSettings.rollUpDelayMs,
  seriesPointsMax: 1_000,
  seriesMax: 4,
}
const FROM = '2026-01-31T12:00:00Z'
const FROM_MS = Date.parse(FROM)

/** An API with the routes of telemetry, and two devices of site 1. */
async function start(wrap: (telemetry: TelemetryQueries) => Partial<TelemetryRoutesOptions['telemetry']> = () => ({})) {
  const databaseUrl = `sqlite:${join(await tempDir(), 'busbar.db')}`
  const common = { clock: systemClock, log: silentLogger }
  // A handle of its own, so that it can be taken away from under an export.
  const database = openDatabase({ url: databaseUrl, ...common })
  onTestFinished(() => database.stop())
  await database.start()
  const registry = new Registry({ database, autoRegister: true, autoRegisterGateways: true, ...common })
  await registry.load('gw-1', [
    { siteId: 1, serialNumber: 'INV-001' },
    { siteId: 1, serialNumber: 'INV-002' },
  ])
  const analytics = { stats: () => ({ failing: null, behindMs: 0 }) }
  const queries = new TelemetryQueries({ database, registry, settings: SETTINGS, analytics, ...common })
  const telemetry: TelemetryRoutesOptions['telemetry'] = {
    series: (question) => queries.series(question),
    completeness: (...question) => queries.completeness(...question),
    export: (...question) => queries.export(...question),
    ...wrap(queries),
  }
  const latest = new LatestStore(database)
  const routes = telemetryRoutes({ telemetry, registry, latest, clock: systemClock })
  const core = await startApiCore({ routes }, databaseUrl)
  return { ...core, database, queries, base: `${core.url}/api/v1` }
}

describe('series', () => {
  test('of what came over the bus are there at every resolution, with the newest readings, and the fields are listed', async () => {
    const { bus, base, queries } = await start()
    const nowMs = Math.floor(Date.now() / 1000) * 1000
    const values = Array.from({ length: 30 }, (_, i) => ({ atMs: nowMs - i * 20_000, powerKw: i % 7 }))
    await bus.publish(
      DEVICE_TELEMETRY,
      values.map(({ atMs, powerKw }, i) => ({
        key: 'INV-001',
        value: JSON.stringify({
          deviceId: 1,
          serialNumber: 'INV-001',
          siteId: 1,
          deviceType: 'SOLAR_INVERTER',
          telemetryData: { powerKw, mode: 'auto', 'a,b': 1 },
          timestamp: new Date(atMs).toISOString(),
          eventType: 'DEVICE_TELEMETRY',
        }),
        headers: { gateway: 'gw-1', seq: String(i + 1), receivedAt: new Date(atMs).toISOString() },
      })),
    )
    const from = encodeURIComponent(new Date(nowMs - 3_600_000).toISOString())
    const ask = async (query: string) =>
      (await getJson(`${base}/telemetry/series?deviceId=1&from=${from}&to=2100-01-01T00:00:00Z&${query}`)).body
    const raw = await until(async () => {
      const answer = await ask('field=powerKw,a%5C%2Cb,mode')
      return answer.series[0].points.length === 30 && answer
    })
    expect(raw).toMatchObject({ resolution: 'raw', stepMs: null, exact: true, notes: [] })
    expect(raw.series.map(({ field, readings }: { field: string; readings: number }) => [field, readings])).toEqual([
      ['powerKw', 30],
      ['a,b', 30],
      ['mode', 0],
    ])
    expect(raw.series[0].points[0]).toEqual({ at: new Date(nowMs - 580_000).toISOString(), value: 29 % 7 })
    for (const resolution of ['1m', '15m', '1h', '1d']) {
      const series = await until(async () => {
        const answer = await ask(`field=powerKw&resolution=${resolution}`)
        return answer.series[0].readings === 30 && answer
      })
      expect(series.resolution).toBe(resolution)
      expect(series.series[0].points.at(-1).last).toBe(0)
      expect(series.series[0].points[0]).toEqual({
        at: expect.any(String),
        min: expect.any(Number),
        max: expect.any(Number),
        mean: expect.any(Number),
        last: expect.any(Number),
        count: expect.any(Number),
      })
    }
    const fields = (await getJson(`${base}/devices/1/fields`)).body
    expect(fields).toEqual({
      items: [
        { field: 'a,b', value: 1, at: new Date(nowMs).toISOString() },
        { field: 'powerKw', value: 0, at: new Date(nowMs).toISOString() },
      ],
    })
    expect((await getJson(`${base}/devices/2/fields`)).body).toEqual({ items: [] })
    expect((await getJson(`${base}/devices/9/fields`)).status).toBe(404)
    const { arrived, gateways } = await queries.completeness(
      { deviceId: 1 },
      { fromMs: nowMs - 3_600_000, toMs: nowMs + 60_000 },
    )
    expect(arrived).toMatchObject({ records: 0, uncounted: 30, firstMs: nowMs - 580_000, lastMs: nowMs })
    expect(gateways.map(({ gatewayId }) => gatewayId)).toEqual(['gw-1'])
  })

  test('that cannot be answered are a problem that names the value and what it may be', async () => {
    const { base } = await start()
    const problem = async (query: string) => {
      const { body } = await getJson(`${base}/telemetry/series?${query}`)
      return [
        body.status,
        body.code,
        body.errors?.map(({ pointer, value }: { pointer: string; value: unknown }) => [pointer, value]),
      ]
    }
    const good = `field=powerKw&from=${FROM}`
    expect(await problem(`${good}&deviceId=1&to=2026-01-31`)).toEqual([422, 'INVALID_INPUT', [['/to', '2026-01-31']]])
    expect(await problem(`${good}&deviceId=1&to=${FROM}`)).toEqual([
      422,
      'INVALID_INPUT',
      [['/to', '2026-01-31T12:00:00.000Z']],
    ])
    expect(await problem(good)).toEqual([422, 'INVALID_INPUT', [['/deviceId', undefined]]])
    expect(await problem(`${good}&deviceId=1&siteId=1`)).toEqual([422, 'INVALID_INPUT', [['/siteId', 1]]])
    expect(await problem(`${good}&deviceId=1,x`)).toEqual([422, 'INVALID_INPUT', [['/deviceId', '1,x']]])
    expect(await problem(`${good}&deviceId=1&maxPoints=1001`)).toEqual([422, 'INVALID_INPUT', [['/maxPoints', 1001]]])
    expect(await problem(`${good}&deviceId=1&resolution=2m`)).toEqual([422, 'INVALID_INPUT', [['/resolution', '2m']]])
    expect(await problem(`deviceId=1,2&from=${FROM}&field=a,b,c`)).toEqual([
      422,
      'INVALID_INPUT',
      [['/deviceId', '2 devices']],
    ])
    expect(await problem(`${good}&deviceId=1,77,4294967296`)).toEqual([404, 'DEVICES_NOT_FOUND', undefined])
    expect(await problem(`${good}&siteId=9`)).toEqual([404, 'SITE_NOT_FOUND', undefined])
  })
})

/** Bytes of the export that has 12,000 readings of 2,000 characters. */
const EXPORT_READINGS = 12_000
const EXPORT_BYTES_MIN = EXPORT_READINGS * 2_000

async function fill(database: DatabaseHandle): Promise<void> {
  const fields = JSON.stringify({ powerKw: -1.5, note: 'x'.repeat(2_000) })
  await sql`
    with recursive n (i) as (select 0 union all select i + 1 from n where i < ${EXPORT_READINGS - 1})
    insert into readings (device_id, at_ms, seq, fields) select 1, ${FROM_MS} + i * 1000, i, ${fields} from n`.execute(
    database.kysely,
  )
}

const EXPORT = `/telemetry/export?format=ndjson&deviceId=1&from=${FROM}&to=2026-02-28T00:00:00Z`

/** Counts what is made of an export, and asks for no more than it is asked for. */
function counted(made: { bytes: number }) {
  return (queries: TelemetryQueries): Pick<TelemetryRoutesOptions['telemetry'], 'export'> => ({
    async export(...question) {
      const reader = (await queries.export(...question)).getReader()
      return new ReadableStream<Uint8Array>(
        {
          async pull(controller) {
            const { done, value } = await reader.read()
            if (done) return controller.close()
            made.bytes += value.byteLength
            controller.enqueue(value)
          },
          cancel: (reason) => reader.cancel(reason),
        },
        { highWaterMark: 0 },
      )
    },
  })
}

/** A request by hand, whose answer is read when the socket is resumed. */
function request(base: string, path: string): Socket {
  const { hostname, port, pathname } = new URL(base)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => undefined)
  socket.write(`GET ${pathname}${path} HTTP/1.1\r\nHost: ${hostname}:${port}\r\n\r\n`)
  onTestFinished(() => void socket.destroy())
  return socket.pause()
}

/** Resolves when nothing has been made for a while. */
async function untilStill(made: { bytes: number }): Promise<number> {
  let before = -1
  await until(
    () => {
      const still = made.bytes > 0 && made.bytes === before
      before = made.bytes
      return still
    },
    { pollMs: 300 },
  )
  return made.bytes
}

describe('an export', () => {
  test('is a file with a name, whole and in order', async () => {
    const { base, database, queries } = await start()
    await fill(database)
    const response = await fetch(`${base}${EXPORT}`)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/x-ndjson')
    expect(response.headers.get('content-disposition')).toBe(
      'attachment; filename="telemetry-device-1-raw-20260131T120000Z-20260228T000000Z.ndjson"',
    )
    const lines = (await response.text()).trimEnd().split('\n')
    expect(lines.map((line) => Date.parse(JSON.parse(line).time))).toEqual(
      Array.from({ length: EXPORT_READINGS }, (_, i) => FROM_MS + i * 1000),
    )
    const csv = await fetch(
      `${base}/telemetry/export?format=csv&siteId=1&field=powerKw&from=${FROM}&to=2026-01-31T12:00:02Z`,
    )
    expect(csv.headers.get('content-type')).toBe('text/csv; charset=utf-8; header=present')
    expect(await csv.text()).toBe(
      'time,siteId,deviceId,serialNumber,field,value\r\n' +
        '2026-01-31T12:00:00.000Z,1,1,INV-001,powerKw,-1.5\r\n2026-01-31T12:00:01.000Z,1,1,INV-001,powerKw,-1.5\r\n',
    )
    expect(queries.stats()).toMatchObject({ exporting: 0, exports: 2 })
  })

  test('without a reading is a header line alone, and of what is not there a problem', async () => {
    const { base } = await start()
    const empty = await fetch(`${base}/telemetry/export?format=csv&deviceId=2&from=${FROM}&resolution=1h`)
    expect(await empty.text()).toBe('time,siteId,deviceId,serialNumber,field,count,min,max,mean,last\r\n')
    expect((await getJson(`${base}/telemetry/export?format=csv&deviceId=77&from=${FROM}`)).body).toMatchObject({
      status: 404,
      code: 'DEVICES_NOT_FOUND',
      detail: 'there is no device 77',
    })
  })

  test('is made no faster than it is read, and stops at once when the reader goes', async () => {
    const made = { bytes: 0 }
    const { base, database, queries } = await start(counted(made))
    await fill(database)
    const socket = request(base, EXPORT)
    const atRest = await untilStill(made)
    // What the kernel's buffers take, and a page or two.
    expect(atRest).toBeLessThan(EXPORT_BYTES_MIN / 2)
    let read = 0
    socket.on('data', (data: Buffer) => {
      read += data.byteLength
      if (read > 2 * 2 ** 20) socket.pause()
    })
    socket.resume()
    await until(() => made.bytes > atRest)
    expect(await untilStill(made)).toBeLessThan(EXPORT_BYTES_MIN * 0.75)
    expect(queries.stats().exporting).toBe(1)
    socket.destroy()
    await until(() => queries.stats().exporting === 0)
    const atEnd = made.bytes
    expect(await untilStill(made)).toBe(atEnd)
    expect(atEnd).toBeLessThan(EXPORT_BYTES_MIN)
    expect(queries.stats()).toMatchObject({ exports: 1, exportsFailed: 0 })
  })

  test('that fails in the middle never looks complete', async () => {
    const made = { bytes: 0 }
    const { base, database, queries } = await start(counted(made))
    await fill(database)
    const socket = request(base, EXPORT)
    await untilStill(made)
    await database.stop()
    const received: Buffer[] = []
    socket.on('data', (data: Buffer) => void received.push(data))
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.resume()
    await closed
    // Of the chunked encoding the last chunk is missing, without which no client takes an answer for whole.
    expect(Buffer.concat(received).subarray(-5).toString()).not.toBe('0\r\n\r\n')
    expect(queries.stats()).toMatchObject({ exporting: 0, exportsFailed: 1 })
  })

  test('is one of few at a time: another one is told to come again', async () => {
    const { base, database, queries } = await start()
    await fill(database)
    const sockets = Array.from({ length: 8 }, () => request(base, EXPORT))
    await until(() => queries.stats().exporting === 8)
    const refused = await fetch(`${base}${EXPORT}`)
    expect([refused.status, refused.headers.get('retry-after'), ((await refused.json()) as AnyJson).code]).toEqual([
      503,
      '1',
      'EXPORTS_BUSY',
    ])
    for (const socket of sockets) socket.destroy()
    await until(() => queries.stats().exporting === 0)
    expect((await fetch(`${base}${EXPORT}&field=none`)).status).toBe(200)
    expect((await fetch(`${base}${EXPORT}`, { method: 'HEAD' })).status).toBe(200)
    await until(() => queries.stats().exporting === 0)
  })
})
