import { expect, test } from 'vitest'
import { cloudWallMs, confirmed } from '../../../edge/commands/cloud-time.ts'
import { lifeOf, rowOf } from '../../../edge/commands/life-row.ts'
import type { CommandLife, Now } from '../../../edge/commands/life-state.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'
import { CLOUD_MS, command, startInbox } from './support/inbox.ts'

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

test('acknowledgements keep the time of a session that lasts for weeks', () => {
  const learned = { offsetMs: 1000, atMs: 0 }
  const now = 30 * DAY_MS
  expect((cloudWallMs(learned, now) as number) - now - 1000).toBeGreaterThan(250_000)
  // The cloud answered some time between 300 ms ago and now; its clock is really 990 ms ahead of ours.
  const better = confirmed(learned, now - 100 + 990, now - 300, now)
  expect(cloudWallMs(better, now)).toBeLessThan(now + 1200)
  // Slower answers say less, and hardly better ones nothing.
  expect(confirmed(better, now - 100 + 990, now - 60_000, now)).toBe(better)
  expect(confirmed(better, now + 990, now, now)).toBe(better)
})

test('a command that is soon to expire goes out after days of one session', async () => {
  const site = await startInbox(await tempDir())
  site.inbox.learnCloudTime(CLOUD_MS)
  const route = site.open()
  site.clock.advance(4 * DAY_MS)
  const now = 4 * DAY_MS
  site.inbox.confirmCloudTime(CLOUD_MS + now - 50, now - 100)
  await site.inbox.receive([command('c0', { expiresAtMs: CLOUD_MS + now + 20_000 })])
  await until(() => route.frames.includes('publish 1 c0'))
})

test('a machine that slept learns from the next acknowledgement that it is late', () => {
  const learned = { offsetMs: 1000, atMs: 0 }
  const [sleptMs, now] = [60_000, 5_000]
  const after = confirmed(learned, now + 990 + sleptMs, now - 20, now)
  expect(cloudWallMs(after, now)).toBeGreaterThanOrEqual(now + 990 + sleptMs)
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
