import { describe, expect, it } from 'vitest'
import { GatheredWrites } from '../../../cloud/telemetry/gathered-writes.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/until.ts'

function gatheredWrites() {
  const clock = new ManualClock()
  const written: string[][] = []
  const gate: { failure: Error | null; open: (() => void) | null } = { failure: null, open: null }
  const writes = new GatheredWrites<string[]>({
    clock,
    empty: () => [],
    write: async (gathered) => {
      written.push(gathered)
      await new Promise<void>((resolve) => {
        gate.open = resolve
      })
      if (gate.failure !== null) throw gate.failure
      if (gathered.includes('poison')) throw new Error('poison')
    },
    isFaultOfOne: (error) => error !== gate.failure,
  })
  const add = (item: string, delayMs: number) => writes.add((gathered) => void gathered.push(item), delayMs)
  return { clock, written, gate, writes, add }
}

describe('gathered writes', () => {
  it('wait for company until the earliest is due', async () => {
    const { clock, written, gate, add } = gatheredWrites()
    const both = Promise.all([add('a', 200), add('b', 100)])
    clock.advance(99)
    expect(written).toEqual([])
    clock.advance(1)
    expect(written).toEqual([['a', 'b']])
    gate.open?.()
    await both
  })

  it('gather while one is in flight, and go at once when due', async () => {
    const { written, gate, add } = gatheredWrites()
    const first = add('a', 0)
    const second = Promise.all([add('b', 0), add('c', 0)])
    expect(written).toEqual([['a']])
    gate.open?.()
    await first
    expect(written).toEqual([['a'], ['b', 'c']])
    gate.open?.()
    await second
  })

  it('tell everyone whose write failed, and nobody else', async () => {
    const { written, gate, add } = gatheredWrites()
    const first = Promise.allSettled([add('a', 0)])
    const second = add('b', 0)
    gate.failure = new Error('away')
    gate.open?.()
    expect(await first).toMatchObject([{ status: 'rejected', reason: { message: 'away' } }])
    gate.failure = null
    gate.open?.()
    await second
    expect(written).toEqual([['a'], ['b']])
  })

  it('wait for nobody once they hurry', async () => {
    const { written, gate, writes, add } = gatheredWrites()
    const waiting = add('a', 1_000)
    writes.hurry()
    expect(written).toEqual([['a']])
    gate.open?.()
    await waiting
    const next = add('b', 1_000)
    expect(written).toEqual([['a'], ['b']])
    gate.open?.()
    await next
  })

  it('are done one by one when one of them makes them fail, which alone is told', async () => {
    const { clock, written, gate, add } = gatheredWrites()
    const outcomes = Promise.allSettled([add('a', 1), add('poison', 1), add('b', 1)])
    clock.advance(1)
    for (let i = 1; i <= 4; i++) {
      await until(() => written.length === i)
      gate.open?.()
    }
    expect((await outcomes).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(written).toEqual([['a', 'poison', 'b'], ['a'], ['poison'], ['b']])
  })
})
