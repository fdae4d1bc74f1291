import fc from 'fast-check'
import { expect, test } from 'vitest'
import { DEVICE_STATUSES, type DeviceStatus } from '../../../cloud/registry/device.ts'
import { type Availability, availabilityOf, SHARED_STATUSES, type StatusPoint } from '../../../cloud/status/status.ts'

/** The same by looking at every millisecond. */
function stepped(
  before: DeviceStatus | null,
  points: readonly StatusPoint[],
  fromMs: number,
  toMs: number,
): Availability {
  const ms = { ONLINE: 0, OFFLINE: 0, MAINTENANCE: 0, ERROR: 0, UNKNOWN: 0 }
  let outage = 0
  let longestOutageMs = 0
  for (let at = fromMs; at < toMs; at++) {
    const status = points.findLast((point) => point.atMs >= fromMs && point.atMs <= at)?.status ?? before ?? 'UNKNOWN'
    ms[status]++
    outage = status === 'OFFLINE' || status === 'ERROR' ? outage + 1 : 0
    longestOutageMs = Math.max(longestOutageMs, outage)
  }
  const within = points.filter(({ atMs }) => atMs >= fromMs && atMs < toMs).map(({ status }) => status)
  const known = before === null ? within : [before, ...within]
  const changes = known.filter((status, i) => i > 0 && status !== known[i - 1]).length
  const judged = toMs - fromMs - ms.MAINTENANCE - ms.UNKNOWN
  return { fromMs, toMs, ms, changes, longestOutageMs, availability: judged === 0 ? null : ms.ONLINE / judged }
}

test('shares are what looking at every millisecond comes to', () => {
  const status = fc.constantFrom(...DEVICE_STATUSES)
  const point = fc.record({ atMs: fc.integer({ min: -20, max: 120 }), status })
  fc.assert(
    fc.property(
      fc.option(status),
      fc.array(point, { size: 'max', maxLength: 60 }),
      fc.integer({ min: 0, max: 50 }),
      fc.integer({ min: 1, max: 60 }),
      (before, unordered, fromMs, lengthMs) => {
        const points = unordered.toSorted((a, b) => a.atMs - b.atMs)
        const toMs = fromMs + lengthMs
        const found = availabilityOf(before, points, fromMs, toMs)
        expect(found).toEqual(stepped(before, points, fromMs, toMs))
        expect(SHARED_STATUSES.reduce((sum, each) => sum + found.ms[each], 0)).toBe(lengthMs)
      },
    ),
    { numRuns: 500 },
  )
})

test('maintenance and what is not known count neither for nor against a device', () => {
  const points: StatusPoint[] = [
    { atMs: 10, status: 'ONLINE' },
    { atMs: 40, status: 'MAINTENANCE' },
    { atMs: 60, status: 'OFFLINE' },
    { atMs: 65, status: 'ERROR' },
    { atMs: 70, status: 'ONLINE' },
  ]
  expect(availabilityOf(null, points, 0, 100)).toEqual({
    fromMs: 0,
    toMs: 100,
    ms: { ONLINE: 60, OFFLINE: 5, MAINTENANCE: 20, ERROR: 5, UNKNOWN: 10 },
    changes: 4,
    longestOutageMs: 10,
    availability: 60 / 70,
  })
  expect(availabilityOf('MAINTENANCE', [], 0, 100).availability).toBeNull()
  expect(availabilityOf(null, [], 0, 100).availability).toBeNull()
})
