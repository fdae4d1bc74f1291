import { expect, test } from 'vitest'
import { cloudWallMs } from '../../../edge/commands/cloud-time.ts'
import { lifeOf, rowOf } from '../../../edge/commands/life-row.ts'
import type { CommandLife, Now } from '../../../edge/commands/life-state.ts'

const DAY_MS = 86_400_000

test('the time of the cloud is not known until it was told', () => {
  expect(cloudWallMs(null, 5)).toBeNull()
  expect(cloudWallMs({ offsetMs: 1000, atMs: 5 }, 5)).toBe(1005)
})

test('a slow monotonic clock makes nothing late', () => {
  const learned = { offsetMs: 1000, atMs: 0 }
  for (const trueMs of [0, 1000, DAY_MS, 30 * DAY_MS]) {
    // A hundred millionths slow.
    const monotonicMs = trueMs * (1 - 1e-4)
    expect(cloudWallMs(learned, monotonicMs)).toBeGreaterThanOrEqual(trueMs + 999)
  }
  // What that costs: nine seconds a day.
  expect((cloudWallMs(learned, DAY_MS) as number) - DAY_MS).toBeLessThan(10_000)
})

test('a timeout goes on over a restart, and begins anew after a reboot', () => {
  const now: Now = { monotonicMs: 5000, cloudMs: null }
  const life: CommandLife = { phase: 'delivered', sinceMs: 2000 }
  const row = rowOf(life, 'boot-1', now)
  expect(lifeOf(row, 'boot-1', now)).toEqual(life)
  expect(lifeOf(row, 'boot-2', { monotonicMs: 70, cloudMs: null })).toEqual({ phase: 'delivered', sinceMs: 70 })
})

test('only a durable session holds what a command left open over a restart', () => {
  const now: Now = { monotonicMs: 0, cloudMs: 0 }
  const via = { session: 's', packetId: 1, qos: 2, resumable: true } as const
  const ending = (resumable: boolean): CommandLife => ({
    phase: 'ending',
    outcome: 'TIMED_OUT',
    loose: { ...via, resumable },
  })
  expect(rowOf(ending(true), 'b', now).via).toEqual(via)
  expect(rowOf(ending(false), 'b', now).via).toBeNull()
})
