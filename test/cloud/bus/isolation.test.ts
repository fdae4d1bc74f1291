import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isolate } from '../../../cloud/bus/isolation.ts'
import { BusbarError } from '../../../shared/errors.ts'

interface Item {
  readonly lane: string
  readonly n: number
}

const never = new AbortController().signal
const CALLS_MAX = 1_000_000
const numbers = (items: readonly Item[]) => items.map(({ n }) => n)

function items(count: number, lanes: number): Item[] {
  return Array.from({ length: count }, (_, n) => ({ n, lane: `lane-${n % lanes}` }))
}

describe('the isolation of records that fail', () => {
  test('takes some dozen calls for one among thousands', async () => {
    const poison = async (some: readonly Item[]) => {
      if (numbers(some).includes(3_333)) throw new Error('poison')
    }
    const { done, failed, waiting, calls } = await isolate(items(5_000, 5_000), {
      handle: poison,
      callsMax: CALLS_MAX,
      signal: never,
    })
    expect(done.length).toBe(4_999)
    expect(failed.map(({ record }) => record.n)).toEqual([3_333])
    expect(waiting).toEqual([])
    expect(calls).toBeLessThan(30)
  })

  test('leaves what it does not come to within its calls', async () => {
    const all = items(100, 100)
    const handle = () => Promise.reject(new Error('poison'))
    const { failed, waiting, calls } = await isolate(all, { handle, callsMax: 20, signal: never })
    expect(calls).toBe(20)
    expect(failed.length).toBeGreaterThan(0)
    expect([...failed.map(({ record }) => record.n), ...numbers(waiting)].sort((a, b) => a - b)).toEqual(numbers(all))
  })

  test('keeps the order of each lane, loses none, and begins nothing once something is away', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 8 }),
        fc.uniqueArray(fc.nat(59)),
        fc.option(fc.nat(40)),
        fc.integer({ min: 1, max: 200 }),
        async (count, lanes, poison, awayAtCall, callsMax) => {
          const all = items(count, lanes)
          const effects: number[] = []
          let calls = 0
          const handle = async (some: readonly Item[]) => {
            if (calls++ === awayAtCall) throw new BusbarError('away', { code: 'AWAY', retryable: true })
            if (some.some(({ n }) => poison.includes(n))) throw new Error('poison')
            effects.push(...numbers(some))
          }
          const { done, failed, waiting, outage, ...rest } = await isolate(all, { handle, callsMax, signal: never })
          expect(rest.calls).toBe(calls)
          expect(outage !== null).toBe(awayAtCall !== null && awayAtCall < calls)
          if (outage !== null) expect(calls).toBe((awayAtCall as number) + 1)
          expect(effects).toEqual(numbers(done))
          const ended = [...numbers(done), ...failed.map(({ record }) => record.n), ...numbers(waiting)]
          expect([...ended].sort((a, b) => a - b)).toEqual(numbers(all))
          if (outage === null && calls < callsMax) {
            // Only what stands behind a poison record of its lane waits.
            for (const { lane, n } of waiting)
              expect(all.some((p) => p.lane === lane && p.n < n && poison.includes(p.n))).toBe(true)
          }
          for (let lane = 0; lane < lanes; lane++) {
            // Done, then the one that failed, then those that wait.
            const ofLane = ended.filter((n) => n % lanes === lane)
            expect(ofLane).toEqual([...ofLane].sort((a, b) => a - b))
          }
        },
      ),
      { numRuns: 300 },
    )
  })
})
