import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isQuiet, type QuietHours, WEEKDAYS } from '../../../cloud/notifications/quiet-hours.ts'

const NIGHT: QuietHours = { from: '22:00', to: '06:00', timeZone: 'Europe/Berlin', exceptCritical: true }
const MINUTE_MS = 60_000
const quiet = (hours: QuietHours, time: string) => isQuiet(hours, 'INFO', Date.parse(time))
const quietMinutes = (hours: QuietHours, from: string, to: string) => {
  let minutes = 0
  for (let ms = Date.parse(from); ms < Date.parse(to); ms += MINUTE_MS) if (isQuiet(hours, 'INFO', ms)) minutes++
  return minutes
}

describe('quiet hours', () => {
  it('go over midnight, from their first minute to the one before their end', () => {
    expect(quiet(NIGHT, '2026-01-15T21:59:59.999+01:00')).toBe(false)
    expect(quiet(NIGHT, '2026-01-15T22:00:00+01:00')).toBe(true)
    expect(quiet(NIGHT, '2026-01-16T00:00:00+01:00')).toBe(true)
    expect(quiet(NIGHT, '2026-01-16T05:59:59.999+01:00')).toBe(true)
    expect(quiet(NIGHT, '2026-01-16T06:00:00+01:00')).toBe(false)
  })

  it('go by the clock on the wall: an hour shorter in spring, an hour longer in autumn', () => {
    expect(quietMinutes(NIGHT, '2026-01-15T12:00:00+01:00', '2026-01-16T12:00:00+01:00')).toBe(8 * 60)
    expect(quietMinutes(NIGHT, '2026-03-28T12:00:00+01:00', '2026-03-29T12:00:00+02:00')).toBe(7 * 60)
    expect(quietMinutes(NIGHT, '2026-10-24T12:00:00+02:00', '2026-10-25T12:00:00+01:00')).toBe(9 * 60)
    expect(quiet(NIGHT, '2026-03-29T05:59:00+02:00')).toBe(true)
    expect(quiet(NIGHT, '2026-03-29T06:00:00+02:00')).toBe(false)
  })

  it('that begin or end in the hour that is left out, or comes twice, lose or gain no more than that', () => {
    const early = { ...NIGHT, from: '02:30', to: '04:00' }
    expect(quietMinutes(early, '2026-03-29T00:00:00+01:00', '2026-03-29T12:00:00+02:00')).toBe(60)
    expect(quietMinutes(early, '2026-10-25T00:00:00+02:00', '2026-10-25T12:00:00+01:00')).toBe(120)
    const gone = { ...NIGHT, from: '02:10', to: '02:50' }
    expect(quietMinutes(gone, '2026-03-29T00:00:00+01:00', '2026-03-29T12:00:00+02:00')).toBe(0)
    expect(quietMinutes(gone, '2026-10-25T00:00:00+02:00', '2026-10-25T12:00:00+01:00')).toBe(80)
  })

  it('belong to the day on which they begin', () => {
    const weekend: QuietHours = { ...NIGHT, days: ['FRI', 'SAT'] }
    expect(quiet(weekend, '2026-01-15T23:00:00+01:00')).toBe(false)
    expect(quiet(weekend, '2026-01-16T05:00:00+01:00')).toBe(false)
    expect(quiet(weekend, '2026-01-16T23:00:00+01:00')).toBe(true)
    expect(quiet(weekend, '2026-01-18T05:00:00+01:00')).toBe(true)
    expect(quiet(weekend, '2026-01-18T23:00:00+01:00')).toBe(false)
  })

  it('let CRITICAL through unless they say otherwise', () => {
    const night = Date.parse('2026-01-16T00:00:00+01:00')
    expect(isQuiet(NIGHT, 'CRITICAL', night)).toBe(false)
    expect(isQuiet(NIGHT, 'WARNING', night)).toBe(true)
    expect(isQuiet({ ...NIGHT, exceptCritical: false }, 'CRITICAL', night)).toBe(true)
    expect(isQuiet(null, 'INFO', night)).toBe(false)
  })

  const timeOfDay = fc
    .integer({ min: 0, max: 1439 })
    .map((minutes) => [Math.floor(minutes / 60), minutes % 60].map((part) => String(part).padStart(2, '0')).join(':'))
  const timeZone = fc.constantFrom('Europe/Berlin', 'America/St_Johns', 'Asia/Kathmandu', 'Pacific/Apia', 'UTC')
  const instant = fc.integer({ min: Date.UTC(2020, 0, 1), max: Date.UTC(2040, 0, 1) })

  it('and the same the other way round are the whole day, at every time and in every zone', () => {
    fc.assert(
      fc.property(timeOfDay, timeOfDay, timeZone, instant, (from, to, zone, ms) => {
        fc.pre(from !== to)
        const hours = { from, to, timeZone: zone, exceptCritical: true }
        expect(isQuiet(hours, 'INFO', ms)).toBe(!isQuiet({ ...hours, from: to, to: from }, 'INFO', ms))
        expect(isQuiet({ ...hours, to: from }, 'INFO', ms)).toBe(true)
      }),
    )
  })

  it('in UTC are what plain arithmetic says, on the days that are chosen', () => {
    const days = fc.subarray([...WEEKDAYS], { minLength: 1 })
    fc.assert(
      fc.property(timeOfDay, timeOfDay, days, instant, (from, to, chosen, ms) => {
        const minutesOf = (text: string) => Number(text.slice(0, 2)) * 60 + Number(text.slice(3))
        const lengthMs = (((minutesOf(to) - minutesOf(from) + 1440) % 1440 || 1440) as number) * MINUTE_MS
        // The last begin at or before now.
        const dayMs = 1440 * MINUTE_MS
        const begunMs = Math.floor((ms - minutesOf(from) * MINUTE_MS) / dayMs) * dayMs + minutesOf(from) * MINUTE_MS
        const day = WEEKDAYS[(new Date(begunMs).getUTCDay() + 6) % 7] as (typeof WEEKDAYS)[number]
        const expected = ms - begunMs < lengthMs && chosen.includes(day)
        expect(isQuiet({ from, to, days: chosen, timeZone: 'UTC', exceptCritical: true }, 'INFO', ms)).toBe(expected)
      }),
    )
  })
})
