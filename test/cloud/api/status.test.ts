import { TypeCompiler } from '@sinclair/typebox/compiler'
import { expect, onTestFinished, test } from 'vitest'
import { statusRoutes } from '../../../cloud/api/routes/status.ts'
import { AvailabilitySchema, OutageSchema, StatusChangeSchema } from '../../../cloud/api/schemas/status.ts'
import { openDatabase } from '../../../cloud/database/database.ts'
import { GatewayWatch, StatusHistory } from '../../../cloud/status/status.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { startApiCore } from '../../support/api-core.ts'
import { type AnyJson, getJson } from '../../support/json-request.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { devicesBehind, hello, statusCore, statusEvent } from '../../support/status-core.ts'
import { tempDir } from '../../support/temp-dir.ts'

const HOUR_MS = 3_600_000
const NOW_MS = Date.UTC(2026, 0, 10)
const ms = (hours: number) => NOW_MS + hours * HOUR_MS
const at = (hours: number) => new Date(ms(hours)).toISOString()
const shows = {
  change: TypeCompiler.Compile(StatusChangeSchema),
  availability: TypeCompiler.Compile(AvailabilitySchema),
  outage: TypeCompiler.Compile(OutageSchema),
}

async function open() {
  const clock = new ManualClock(NOW_MS)
  const url = `sqlite:${await tempDir()}/busbar.db`
  const core = statusCore(openDatabase({ url, clock: systemClock, log: silentLogger }), clock)
  onTestFinished(() => core.database.stop())
  await core.database.start()
  const history = new StatusHistory({ ...core.common, historyDays: 10 })
  const gatewayWatch = new GatewayWatch({
    ...core.common,
    notifier: { notify: () => Promise.resolve(), nudge: () => undefined },
    gatewayOfflineAfterMs: 1_000,
    checkPeriodMs: 1_000,
    historyDays: 10,
  })
  const routes = statusRoutes({ registry: core.registry, history, gatewayWatch, clock })
  const api = await startApiCore({ routes }, url)
  const [first, second] = (await devicesBehind(core, 'gw-1', ['INV-1', 'INV-2'])) as [number, number]
  await core.database.transaction((transaction) =>
    history.append(
      [
        statusEvent(first, ms(-30), { status: 'ONLINE', previous: 'OFFLINE' }),
        statusEvent(first, ms(-12), { status: 'OFFLINE', previous: 'ONLINE', reason: 'No data', gatewayId: '$cloud' }),
        statusEvent(first, ms(-9), { status: 'ONLINE', previous: 'OFFLINE' }),
        statusEvent(first, ms(-6), { status: 'MAINTENANCE', previous: 'ONLINE', backfill: true }),
      ],
      transaction,
    ),
  )
  return { ...core, history, gatewayWatch, clock, first, second, url: `${api.url}/api/v1` }
}

test('the history of a device is listed by range and page, the newest first', async () => {
  const { url, first, second } = await open()
  const list = async (query: string): Promise<AnyJson> =>
    (await getJson(`${url}/devices/${first}/status-history${query}`)).body
  const { items, nextCursor } = await list('')
  expect(nextCursor).toBeNull()
  expect(items).toHaveLength(4)
  for (const item of items) expect(shows.change.Check(item)).toBe(true)
  expect(items[0]).toEqual({
    at: at(-6),
    previousStatus: 'ONLINE',
    newStatus: 'MAINTENANCE',
    reason: null,
    gatewayId: 'gw-1',
    backfill: true,
  })
  expect(items[2]).toMatchObject({ newStatus: 'OFFLINE', reason: 'No data', gatewayId: '$cloud' })
  const times = (body: AnyJson) => body.items.map((item: AnyJson) => item.at)
  expect(times(await list(`?from=${at(-12)}&to=${at(-6)}`))).toEqual([at(-9), at(-12)])
  const page = await list('?limit=3')
  expect(times(await list(`?limit=3&cursor=${page.nextCursor}`))).toEqual([at(-30)])
  expect((await getJson(`${url}/devices/${second}/status-history`)).body.items).toEqual([])
  expect((await getJson(`${url}/devices/999/status-history`)).status).toBe(404)
  for (const wrong of ['cursor=nonsense', 'from=yesterday', 'limit=0', 'colour=red']) {
    expect((await getJson(`${url}/devices/${first}/status-history?${wrong}`)).status, wrong).toBe(422)
  }
})

test('availability is that of the last day, or of the range that is asked for', async () => {
  const { url, first, second } = await open()
  const { body } = await getJson(`${url}/devices/${first}/availability`)
  expect(shows.availability.Check(body)).toBe(true)
  expect(body).toEqual({
    deviceId: first,
    serialNumber: 'INV-1',
    from: at(-24),
    to: at(0),
    totalMs: 24 * HOUR_MS,
    statuses: {
      ONLINE: { ms: 15 * HOUR_MS, share: 15 / 24 },
      OFFLINE: { ms: 3 * HOUR_MS, share: 3 / 24 },
      MAINTENANCE: { ms: 6 * HOUR_MS, share: 6 / 24 },
      ERROR: { ms: 0, share: 0 },
      UNKNOWN: { ms: 0, share: 0 },
    },
    changes: 3,
    longestOutageMs: 3 * HOUR_MS,
    availability: 15 / 18,
  })
  const of = async (id: number, query: string) => (await getJson(`${url}/devices/${id}/availability${query}`)).body
  // The future was in no status yet.
  expect(await of(first, `?from=${at(-6)}&to=${at(100)}`)).toMatchObject({ to: at(0), availability: null })
  expect(await of(first, `?from=${at(-40)}&to=${at(-20)}`)).toMatchObject({ availability: 1, changes: 0 })
  expect(await of(second, '')).toMatchObject({ availability: null, statuses: { UNKNOWN: { share: 1 } } })
  expect(await of(first, `?from=${at(-1)}&to=${at(-1)}`)).toMatchObject({ status: 422, errors: [{ pointer: '/from' }] })
  expect(await of(first, `?from=${at(1)}`)).toMatchObject({ status: 422 })
  expect(await of(999, '')).toMatchObject({ status: 404 })
})

test('the availability of a site is listed by device, in pages', async () => {
  const { url, first, second } = await open()
  const list = async (query: string): Promise<AnyJson> => (await getJson(`${url}/sites/1/availability${query}`)).body
  const page = await list(`?limit=1&to=${at(0)}`)
  expect(page).toMatchObject({ from: at(-24), to: at(0), items: [{ deviceId: first, availability: 15 / 18 }] })
  const last = await list(`?limit=1&to=${at(0)}&cursor=${page.nextCursor}`)
  expect(last).toMatchObject({ items: [{ deviceId: second, availability: null }], nextCursor: null })
  expect((await getJson(`${url}/sites/2/availability`)).status).toBe(404)
})

test('outages of a gateway are listed, the one that lasts first', async () => {
  const { url, registry, gatewayWatch, clock } = await open()
  const look = () => gatewayWatch.look(new AbortController().signal, HOUR_MS)
  await registry.gatewayConnected(hello('gw-1'))
  await registry.gatewayDisconnected('gw-1', 'session-1')
  clock.advance(60_000)
  await look()
  await registry.gatewayConnected(hello('gw-1', 'session-2'))
  clock.advance(10_000)
  await look()
  await registry.gatewayDisconnected('gw-1', 'session-2')
  clock.advance(60_000)
  await look()
  const { body } = await getJson(`${url}/gateways/gw-1/outages`)
  for (const item of body.items) expect(shows.outage.Check(item)).toBe(true)
  expect(body).toMatchObject({
    items: [
      { gatewayId: 'gw-1', endedAt: null, durationMs: null },
      { since: at(0), noticedAt: '2026-01-10T00:01:00.000Z', endedAt: '2026-01-10T00:01:00.000Z', durationMs: 60_000 },
    ],
    nextCursor: null,
  })
  expect((await getJson(`${url}/gateways/gw-9/outages`)).status).toBe(404)
})
