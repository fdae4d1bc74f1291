import fc from 'fast-check'
import { expect, it, onTestFinished } from 'vitest'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { DEVICE_STATUSES } from '../../../cloud/registry/device.ts'
import type { StatusEvent } from '../../../cloud/registry/device-event.ts'
import { availabilityOf, StatusHistory } from '../../../cloud/status/status.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { statusCore, statusEvent } from '../../support/status-core.ts'
import { until } from '../../support/until.ts'

const DAY_MS = 86_400_000
const unlisted = { status: null, statusAtMs: null }

await describeOnEveryDatabase('the history of statuses', (database) => {
  const open = async () => {
    const handle = await database.open()
    const clock = new ManualClock()
    const { common } = statusCore(handle, clock)
    const history = new StatusHistory({ ...common, historyDays: 10 })
    const append = (...events: StatusEvent[]) =>
      handle.transaction((transaction) => history.append(events, transaction))
    return { handle, clock, history, append }
  }
  const rowsOf = async (handle: DatabaseHandle) =>
    (await handle.kysely.selectFrom('status_history').select(['device_id', 'at_ms']).orderBy('at_ms').execute()).map(
      ({ device_id, at_ms }) => `${device_id}@${at_ms}`,
    )

  it('keeps each change once, by event time, whatever the order in which they come', async () => {
    const { history, append } = await open()
    const late = statusEvent(1, 100, { status: 'ERROR', previous: 'ONLINE', reason: 'over\0heated', backfill: true })
    const first = statusEvent(1, 50, { previous: 'OFFLINE', gatewayId: null })
    const last = statusEvent(1, 200, { status: 'OFFLINE', previous: 'ERROR', gatewayId: '$cloud' })
    await append(last, first, statusEvent(2, 60), first)
    await append(late, last)
    const { items, next } = await history.list(1)
    expect(next).toBeNull()
    expect(items.map(({ atMs, status, previous }) => [atMs, previous, status])).toEqual([
      [200, 'ERROR', 'OFFLINE'],
      [100, 'ONLINE', 'ERROR'],
      [50, 'OFFLINE', 'ONLINE'],
    ])
    expect(items[1]).toMatchObject({ reason: 'overheated', backfill: true, gatewayId: 'gw-1' })
    expect(items[2]).toMatchObject({ backfill: false, gatewayId: null, reason: null })
  })

  it('lists a range in pages, the newest first', async () => {
    const { history, append } = await open()
    // Changes of one time too, and of a record without a sequence of its own.
    const events = [10, 20, 20, 20, 30, 40].map((atMs, i) => statusEvent(1, atMs, i === 2 ? { seq: -(2 ** 50) } : {}))
    await append(...events)
    const walk = async (range: { fromMs?: number; toMs?: number }) => {
      const found: number[] = []
      let cursor: string | undefined
      do {
        const page = await history.list(1, { ...range, limit: 2, cursor })
        found.push(...page.items.map(({ atMs }) => atMs))
        cursor = page.next ?? undefined
      } while (cursor !== undefined)
      return found
    }
    expect(await walk({})).toEqual([40, 30, 20, 20, 20, 10])
    expect(await walk({ fromMs: 20, toMs: 40 })).toEqual([30, 20, 20, 20])
    for (const key of ['nonsense', '1/2/3', '99999999999999999/1', '1/']) {
      const cursor = Buffer.from(JSON.stringify(key)).toString('base64url')
      await expect(history.list(1, { cursor })).rejects.toThrow('cursor')
    }
  })

  it('gives the shares of many devices at once as each one alone would be', async () => {
    const { handle, history, append } = await open()
    const event = fc.record({
      deviceId: fc.integer({ min: 1, max: 4 }),
      atMs: fc.integer({ min: 0, max: 100 }),
      status: fc.constantFrom(...DEVICE_STATUSES),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(event, { size: 'max', maxLength: 40 }), async (drawn) => {
        await handle.kysely.deleteFrom('status_history').execute()
        const events = drawn.map(({ deviceId, atMs, status }) => statusEvent(deviceId, atMs, { status }))
        await append(...events)
        const devices = [4, 2, 1, 3, 5].map((id) => ({ id, ...unlisted }))
        const found = await history.availability(devices, 30, 80)
        for (const [i, { id }] of devices.entries()) {
          const points = events
            .filter(({ deviceId }) => deviceId === id)
            .toSorted((a, b) => a.atMs - b.atMs || a.seq - b.seq)
          const before = points.findLast(({ atMs }) => atMs <= 30)?.status ?? null
          const within = points.filter(({ atMs }) => atMs > 30)
          expect(found[i]).toEqual(availabilityOf(before, within, 30, 80))
        }
      }),
      { numRuns: 25 },
    )
  })

  it('takes what the registry knows for the time after the last change', async () => {
    const { history, append } = await open()
    await append(statusEvent(1, 20), statusEvent(2, 20))
    const [behind, agreed, neverChanged, earlier] = await history.availability(
      [
        { id: 1, status: 'OFFLINE', statusAtMs: 60 },
        { id: 2, status: 'OFFLINE', statusAtMs: 19 },
        { id: 3, status: 'ONLINE', statusAtMs: 70 },
        { id: 4, status: 'ONLINE', statusAtMs: -5 },
      ],
      0,
      100,
    )
    expect(behind?.ms).toMatchObject({ UNKNOWN: 20, ONLINE: 40, OFFLINE: 40 })
    expect(agreed?.ms).toMatchObject({ UNKNOWN: 20, ONLINE: 80 })
    expect(neverChanged?.ms).toMatchObject({ UNKNOWN: 70, ONLINE: 30 })
    expect(earlier?.ms).toMatchObject({ ONLINE: 100 })
  })

  it('reads a history of many changes in several steps', async () => {
    const { history, append } = await open()
    const statuses = ['ONLINE', 'OFFLINE'] as const
    const events = Array.from({ length: 12_000 }, (_, i) =>
      statusEvent(1 + (i % 2), i, { status: statuses[(i >> 1) % 2] ?? 'ERROR' }),
    )
    for (let i = 0; i < events.length; i += 3_000) await append(...events.slice(i, i + 3_000))
    const [first, second] = await history.availability(
      [
        { id: 1, ...unlisted },
        { id: 2, ...unlisted },
      ],
      0,
      12_000,
    )
    expect(first).toMatchObject({ changes: 5_999, ms: { ONLINE: 6_000, OFFLINE: 6_000 } })
    expect(second).toMatchObject({ changes: 5_999, ms: { UNKNOWN: 1 } })
  })

  it('removes what is too old, but the last change before, which says what a device has been since', async () => {
    const { handle, clock, history, append } = await open()
    const old = clock.wallMs() - 10 * DAY_MS
    await append(...Array.from({ length: 2_500 }, (_, i) => statusEvent(1, old - 10_000 + i)))
    await append(statusEvent(2, old - 5), statusEvent(2, old + 5), statusEvent(3, old - 20_000))
    const deadline = new AbortController().signal
    onTestFinished(() => history.stop(deadline))
    await history.start()
    clock.advance(0)
    const kept = [`3@${old - 20_000}`, `1@${old - 10_000 + 2_499}`, `2@${old - 5}`, `2@${old + 5}`]
    await until(async () => (await rowsOf(handle)).length <= kept.length)
    expect(await rowsOf(handle)).toEqual(kept)
    const [still] = await history.availability([{ id: 3, ...unlisted }], old, old + DAY_MS)
    expect(still?.ms.ONLINE).toBe(DAY_MS)
  })
})
