import { expect, it } from 'vitest'
import { BriefMemory } from '../../shared/brief-memory.ts'

function memory(options: { entriesMax?: number; isKept?: (answer: string | null) => boolean } = {}) {
  const reads: string[] = []
  const state = { nowMs: 0, failing: false, reads }
  const lately = new BriefMemory<string | null>({
    read: async (key) => {
      reads.push(key)
      await Promise.resolve()
      if (state.failing) throw new Error('it is away')
      return key === 'nobody' ? null : `${key} ${reads.length}`
    },
    keptMs: 100,
    entriesMax: 10,
    clock: { monotonicMs: () => state.nowMs },
    ...options,
  })
  return { state, lately }
}

it('answers many who ask at once with one look, and looks again when that is old', async () => {
  const { state, lately } = memory()
  expect(await Promise.all([lately.of('a'), lately.of('a'), lately.of('b')])).toEqual(['a 2', 'a 2', 'b 2'])
  state.nowMs = 99
  expect(await lately.of('a')).toBe('a 2')
  state.nowMs = 100
  expect(await lately.of('a')).toBe('a 3')
})

it('remembers no failure', async () => {
  const { state, lately } = memory()
  state.failing = true
  await expect(Promise.all([lately.of('a'), lately.of('a')])).rejects.toThrow('it is away')
  state.failing = false
  expect(await lately.of('a')).toBe('a 2')
})

it('forgets what was read first when there is more than it holds, and what it is told to', async () => {
  const { state, lately } = memory({ entriesMax: 2 })
  for (const key of ['a', 'b', 'c', 'b', 'a']) await lately.of(key)
  expect(state.reads).toEqual(['a', 'b', 'c', 'a'])
  lately.forget('a')
  await lately.of('a')
  lately.forgetAll()
  await lately.of('a')
  expect(state.reads).toHaveLength(6)
})

it('lets go of answers that are not worth remembering, also of one that was forgotten while it was read', async () => {
  const { state, lately } = memory({ isKept: (answer) => answer !== null })
  await lately.of('nobody')
  await lately.of('nobody')
  expect(state.reads).toEqual(['nobody', 'nobody'])
  const reading = lately.of('a')
  lately.forget('a')
  const again = lately.of('a')
  await Promise.all([reading, again])
  expect(await lately.of('a')).toBe(await again)
})
