import { expect, it } from 'vitest'
import { isTimeZone, localTime } from '../../shared/local-time.ts'

it('a time zone is one that exists', () => {
  expect(isTimeZone('Europe/Berlin')).toBe(true)
  expect(isTimeZone('Mars/Olympus')).toBe(false)
  expect(isTimeZone('')).toBe(false)
})

it('days, weekdays and hours are those of the time zone, also where its clocks change', () => {
  const zurich = { day: '2026-02-01', weekday: 'SUN', hour: 0, minute: 30 }
  expect(localTime('Europe/Zurich', Date.UTC(2026, 0, 31, 23, 30))).toEqual(zurich)
  expect(localTime('Europe/Zurich', Date.UTC(2026, 6, 31, 22, 30))).toMatchObject({ day: '2026-08-01', hour: 0 })
  expect(localTime('America/New_York', Date.UTC(2026, 0, 1, 3))).toMatchObject({ day: '2025-12-31', hour: 22 })
})
