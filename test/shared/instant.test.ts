import { expect, it } from 'vitest'
import { readInstant } from '../../shared/instant.ts'

it.each<[string, number]>([
  ['2026-01-31T12:00:00Z', Date.UTC(2026, 0, 31, 12)],
  ['2026-01-31T13:00:00+01:00', Date.UTC(2026, 0, 31, 12)],
  ['2026-01-31T12:00:00.1239Z', Date.UTC(2026, 0, 31, 12, 0, 0, 123)],
  ['2024-02-29T00:00:00-00:00', Date.UTC(2024, 1, 29)],
])('%s is an instant', (text, ms) => {
  expect(readInstant(text)).toBe(ms)
})

it.each([
  '',
  'now',
  '2026-01-31',
  '2026-01-31T12:00:00',
  '2026-01-31 12:00:00Z',
  '2026-01-31T12:00Z',
  '2026-02-29T00:00:00Z',
  '2026-13-01T00:00:00Z',
  '2026-01-00T00:00:00Z',
  '2026-01-01T25:00:00Z',
  '2026-01-01T00:00:00+25:00',
  '2026-01-01T00:00:00Z ',
])('%j is none', (text) => {
  expect(readInstant(text)).toBeNull()
})
