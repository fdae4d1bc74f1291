import { describe, expect, test } from 'vitest'
import { type FinishedOffset, OffsetCommits } from '../../../../cloud/bus/kafka/offset-commits.ts'
import { ManualClock } from '../../../support/manual-clock.ts'
import { seededRandom } from '../../../support/seeded-random.ts'

/** A coordinator that answers when told. */
function coordinator() {
  const clock = new ManualClock()
  const asked: { offsets: readonly FinishedOffset[]; answer: PromiseWithResolvers<void> }[] = []
  const commits = new OffsetCommits({
    commit: (offsets) => {
      const answer = Promise.withResolvers<void>()
      asked.push({ offsets, answer })
      return answer.promise
    },
    onFailed: () => {},
    clock,
    random: seededRandom(1),
  })
  const finish = (partition: number, offset: number, assignment = commits.currentAssignment) =>
    commits.finish({ topic: 'device-telemetry', partition, offset: String(offset) }, assignment)
  const wait = async (ms: number) => {
    clock.advance(ms)
    for (let turn = 0; turn < 10; turn++) await Promise.resolve()
  }
  const answer = async (error?: Error) => {
    const last = asked[asked.length - 1]
    if (error === undefined) last?.answer.resolve()
    else last?.answer.reject(error)
    await wait(0)
  }
  const committed = () => asked.map(({ offsets }) => offsets.map(({ partition, offset }) => `${partition}@${offset}`))
  return { commits, finish, wait, answer, committed }
}

describe('commits of offsets', () => {
  test('carry the latest offset of every partition, a moment after the first was finished', async () => {
    const { finish, wait, committed } = coordinator()
    finish(0, 5)
    finish(1, 7)
    finish(0, 9)
    await wait(50)
    expect(committed()).toEqual([])
    await wait(50)
    expect(committed()).toEqual([['0@9', '1@7']])
  })

  test('go out one at a time', async () => {
    const { finish, wait, answer, committed } = coordinator()
    finish(0, 5)
    await wait(100)
    finish(0, 6)
    await wait(10_000)
    expect(committed()).toEqual([['0@5']])
    await answer()
    await wait(100)
    expect(committed()).toEqual([['0@5'], ['0@6']])
  })

  test('that fail are tried again, with what was finished meanwhile', async () => {
    const { finish, wait, answer, committed } = coordinator()
    finish(0, 5)
    finish(1, 7)
    await wait(100)
    finish(0, 6)
    await answer(new Error('the coordinator is away'))
    await wait(200)
    expect(committed()).toEqual([
      ['0@5', '1@7'],
      ['0@6', '1@7'],
    ])
    await answer(new Error('still away'))
    await wait(5_000)
    expect(committed().length).toBe(3)
    await answer()
    await wait(60_000)
    expect(committed().length).toBe(3)
  })

  test('of an older assignment never go out under a newer one', async () => {
    const { commits, finish, wait, answer, committed } = coordinator()
    const before = commits.currentAssignment
    finish(0, 5)
    commits.reassigned()
    // Received before the rebalance, finished after it.
    finish(1, 8, before)
    await wait(10_000)
    expect(committed()).toEqual([])
    finish(2, 3)
    await wait(100)
    expect(committed()).toEqual([['2@3']])
    // In flight during a rebalance: if it fails it is not put back.
    commits.reassigned()
    await answer(new Error('ILLEGAL_GENERATION'))
    await wait(60_000)
    expect(committed()).toEqual([['2@3']])
  })

  test('of what is left go out before leaving, after the one in flight', async () => {
    const { commits, finish, wait, answer, committed } = coordinator()
    finish(0, 5)
    await wait(100)
    finish(0, 6)
    let left = false
    const leaving = commits.flush().then(() => {
      left = true
    })
    await wait(0)
    expect(committed()).toEqual([['0@5']])
    await answer()
    expect(committed()).toEqual([['0@5'], ['0@6']])
    expect(left).toBe(false)
    await answer(new Error('away'))
    await leaving
    await wait(60_000)
    expect(committed().length).toBe(2)
  })
})
