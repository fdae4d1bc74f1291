import { expect, test } from 'vitest'
import { paintWith } from '../../shared/cli/terminal.ts'
import { isRight, type TariffResult, tariffLines } from './tariff.ts'

const NONE = { QUEUED: 0, SENT: 0, DELIVERED: 0, TIMED_OUT: 0, EXPIRED: 0, CANCELLED: 0 }
const RIGHT: TariffResult = {
  tally: { ...NONE, SUCCEEDED: 3, FAILED: 1, REJECTED: 0 },
  meters: 4,
  executed: 4,
  twice: 0,
  answers: { SUCCESS: 3, FAILED: 1, REJECTED: 0 },
}

test('a task is right when each meter did it once and the tally says what the meters said', () => {
  expect(isRight(RIGHT)).toBe(true)
  expect(isRight({ ...RIGHT, twice: 1 })).toBe(false)
  expect(isRight({ ...RIGHT, executed: 3 })).toBe(false)
  expect(isRight({ ...RIGHT, answers: { SUCCESS: 4, FAILED: 0, REJECTED: 0 } })).toBe(false)
  expect(isRight({ ...RIGHT, tally: { ...RIGHT.tally, FAILED: 0, TIMED_OUT: 1 } })).toBe(false)
})

test('the count names every outcome that occurred', () => {
  expect(tariffLines(RIGHT, paintWith(false)).map((line) => line.trim().split(/\s+/))).toEqual([
    ['meters', '4'],
    ['executed', '4'],
    ['twice', '0'],
    ['succeeded', '3'],
    ['failed', '1'],
  ])
})
