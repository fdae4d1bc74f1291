import { expect, test } from 'vitest'
import { Isolation } from '../../../cloud/gateways/isolation.ts'
import { BusbarError } from '../../../shared/errors.ts'
import { silentLogger } from '../../../shared/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const ids = (count: number) => Array.from({ length: count }, (_, i) => `c${i}`)

function isolation(poison: (id: string) => boolean) {
  const clock = new ManualClock()
  const kept = new Isolation({ asideMs: 1_000, asideMax: 30, clock, log: silentLogger })
  const done: string[] = []
  let calls = 0
  const work = async (group: readonly string[]) => {
    calls++
    if (group.some(poison)) throw new Error('poison')
    done.push(...group)
  }
  return { clock, kept, done, each: (group: string[]) => kept.each(group, (id) => id, work), calls: () => calls }
}

test('a group without a culprit is one piece of work, and an empty one none', async () => {
  const { each, done, calls } = isolation(() => false)
  await each(ids(500))
  await each([])
  expect(done).toEqual(ids(500))
  expect(calls()).toBe(1)
})

test('culprits are set aside for a while, and everything else is done, in order', async () => {
  const { each, done, kept, clock, calls } = isolation((id) => id === 'c7' || id === 'c400')
  await each(ids(500))
  expect(done).toEqual(ids(500).filter((id) => id !== 'c7' && id !== 'c400'))
  expect(calls()).toBeLessThan(50)
  expect(kept.except()).toEqual(['c7', 'c400'])
  clock.advance(1_000)
  expect(kept.except()).toEqual([])
})

test('when everything fails it gives up soon, and goes on behind those it found', async () => {
  const { each, kept, calls } = isolation(() => true)
  await expect(each(ids(500))).rejects.toThrow('poison')
  expect(kept.except()).toHaveLength(20)
  expect(calls()).toBeLessThan(100)
  await expect(each(ids(500).slice(20))).rejects.toThrow('poison')
  expect(kept.except()).toHaveLength(30)
})

test('a database that is away is nobody’s fault', async () => {
  const { kept } = isolation(() => false)
  const cause = Object.assign(new Error('connection refused'), { code: 'ECONNREFUSED' })
  const away = new BusbarError('away', { code: 'DATABASE_UNAVAILABLE', retryable: true, cause })
  await expect(
    kept.each(
      ids(3),
      (id) => id,
      () => Promise.reject(away),
    ),
  ).rejects.toBe(away)
  expect(kept.except()).toEqual([])
})
