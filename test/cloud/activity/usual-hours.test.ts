import { expect, test } from 'vitest'
import { ANY_HOUR, isUnusualHour } from '../../../cloud/activity/usual-hours.ts'

const days = (counts: Readonly<Record<number, number>>) => (hour: number) => counts[hour] ?? 0

test('an hour is unusual when hardly any day had it, or one next to it', () => {
  const office = days({ [ANY_HOUR]: 14, 8: 14, 9: 3 })
  expect([7, 8, 9, 10].map((hour) => isUnusualHour(hour, office, 14))).toEqual([false, false, false, false])
  expect([6, 11, 23, 0].map((hour) => isUnusualHour(hour, office, 14))).toEqual([true, true, true, true])
  expect(isUnusualHour(3, office, 15)).toBe(false)
  // Midnight lies between 23 and 1.
  expect(isUnusualHour(0, days({ [ANY_HOUR]: 20, 23: 20 }), 14)).toBe(false)
})

test('whoever has come for years at one hour is soon known at another', () => {
  const old = (nights: number) => isUnusualHour(3, days({ [ANY_HOUR]: 1_000, 8: 1_000, 3: nights }), 14)
  expect([0, 2, 3].map(old)).toEqual([true, true, false])
})
