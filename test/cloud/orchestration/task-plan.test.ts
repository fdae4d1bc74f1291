import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readOptions, type TaskOptions } from '../../../cloud/orchestration/task-options.ts'
import {
  abortReason,
  NO_RESULTS,
  nextAttemptAtMs,
  planTask,
  type TaskSnapshot,
} from '../../../cloud/orchestration/task-plan.ts'
import { perMinute, tokensOf } from '../../../cloud/orchestration/task-rate.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import { simulateTask } from './support/simulated-task.ts'

const NOW = Date.UTC(2026, 0, 1)
const HOUR = 3_600_000

function options(requested: Parameters<typeof readOptions>[0] = {}): TaskOptions {
  return readOptions(requested, NOW, { expiryMs: 24 * HOUR, timeoutMs: 60_000, concurrency: 1_000 }).options
}

function snapshot(given: Partial<TaskSnapshot> = {}): TaskSnapshot {
  return {
    nowMs: NOW,
    monotonicMs: 0,
    state: 'RUNNING',
    options: options(),
    expiresAtMs: NOW + HOUR,
    waiting: given.ready ?? 0,
    ready: 0,
    nextReadyAtMs: null,
    unreachable: 0,
    inFlight: 0,
    reported: 0,
    results: NO_RESULTS,
    issued: 0,
    bucket: null,
    ...given,
  }
}

describe('the plan of a task', () => {
  it('gives every device its command while slots are free', () => {
    expect(planTask(snapshot({ ready: 10 }))).toMatchObject({ issue: 10, event: null, againMs: null })
    const narrow = options({ concurrency: 4 })
    expect(planTask(snapshot({ ready: 10, inFlight: 3, options: narrow }))).toMatchObject({ issue: 1 })
    expect(planTask(snapshot({ ready: 10, inFlight: 9, options: narrow }))).toMatchObject({ issue: 0 })
  })

  it('waits for outcomes that are not tallied before it ends', () => {
    expect(planTask(snapshot({ reported: 1 }))).toMatchObject({ event: null, issue: 0 })
    expect(planTask(snapshot())).toMatchObject({ event: 'ended' })
    expect(planTask(snapshot({ state: 'CANCELLING' }))).toMatchObject({ event: 'ended' })
  })

  it('looks again when a retry is due, and at the expiry', () => {
    expect(planTask(snapshot({ waiting: 1, nextReadyAtMs: NOW + 500 }))).toMatchObject({ issue: 0, againMs: 500 })
    const full = snapshot({ ready: 1, inFlight: 1, options: options({ concurrency: 1 }) })
    expect(planTask(full)).toMatchObject({ issue: 0, againMs: HOUR })
  })

  it('issues nothing once it has expired', () => {
    const late = snapshot({ ready: 5, inFlight: 5, nowMs: NOW + HOUR })
    expect(planTask(late)).toMatchObject({ issue: 0, endWaiting: 'EXPIRED', cancelInFlight: false })
  })

  it('takes back what it can when it is cancelled', () => {
    const cancelled = snapshot({ state: 'CANCELLING', ready: 5, inFlight: 2 })
    expect(planTask(cancelled)).toMatchObject({ issue: 0, endWaiting: 'CANCELLED', cancelInFlight: true })
  })

  it('aborts at the threshold, not before enough results are in', () => {
    const careful = options({ abort: [{ on: 'FAILED', percent: 10, min_results: 10 }] })
    const at = (SUCCEEDED: number, FAILED: number, rest: Partial<TaskSnapshot> = {}) =>
      planTask(snapshot({ ready: 5, options: careful, results: { ...NO_RESULTS, SUCCEEDED, FAILED }, ...rest }))
    expect(at(0, 9)).toMatchObject({ event: null, issue: 5 })
    expect(at(10, 1)).toMatchObject({ event: null, issue: 5 })
    expect(at(9, 1)).toMatchObject({
      event: 'abort',
      issue: 0,
      endWaiting: 'CANCELLED',
      reason: '1 of 10 devices ended as FAILED, which reaches the threshold of 10%',
    })
    // Nothing is left that an abort could spare.
    expect(at(0, 10, { ready: 0, waiting: 0, reported: 1 })).toMatchObject({ event: null })
  })

  it('counts every kind of failure for ANY, and no cancellation', () => {
    const any = [{ on: 'ANY', percent: 50, min_results: 1 }] as const
    expect(abortReason(any, { ...NO_RESULTS, SUCCEEDED: 4, FAILED: 1, REJECTED: 1, TIMED_OUT: 1, EXPIRED: 1 })).toBe(
      '4 of 8 devices failed, which reaches the threshold of 50%',
    )
    expect(abortReason(any, { ...NO_RESULTS, CANCELLED: 9 })).toBeNull()
  })

  it('never promises more than devices, slots and tokens allow', () => {
    const arbitrary = fc.record({
      ready: fc.nat(2_000),
      later: fc.nat(100),
      inFlight: fc.nat(2_000),
      concurrency: fc.integer({ min: 1, max: 2_000 }),
      perMinute: fc.option(fc.integer({ min: 1, max: 100_000 })),
      tokens: fc.option(fc.double({ min: 0, max: 2_000, noNaN: true })),
      elapsedMs: fc.nat(100_000),
      state: fc.constantFrom('RUNNING' as const, 'CANCELLING' as const, 'ABORTING' as const),
    })
    fc.assert(
      fc.property(arbitrary, (given) => {
        const { ready, later, inFlight, concurrency, state, tokens, elapsedMs } = given
        const rate = given.perMinute === null ? {} : { rate: { per_minute: given.perMinute } }
        const plan = planTask(
          snapshot({
            state,
            ready,
            waiting: ready + later,
            nextReadyAtMs: later > 0 ? NOW + 1_000 : null,
            inFlight,
            options: options({ concurrency, ...rate }),
            monotonicMs: elapsedMs,
            bucket: tokens === null ? null : { tokens, atMs: 0 },
          }),
        )
        expect(Number.isInteger(plan.issue)).toBe(true)
        expect(plan.issue).toBeLessThanOrEqual(ready)
        expect(plan.issue).toBeLessThanOrEqual(Math.max(0, concurrency - inFlight))
        if (state !== 'RUNNING') expect(plan.issue).toBe(0)
        if (given.perMinute !== null) {
          expect(plan.issue).toBeLessThanOrEqual(Math.max(1, given.perMinute / 60, tokens ?? 1))
        }
        // Whoever waits is waited for: by an outcome of one in flight, or by the clock.
        const waits = state === 'RUNNING' && ready + later > plan.issue
        if (waits && inFlight + plan.issue === 0) expect(plan.againMs).not.toBeNull()
      }),
    )
  })
})

describe('the rate of a task', () => {
  const rate = { per_minute: 60, growth_factor: 2, grow_after: 100, max_per_minute: 500 }

  it('grows after every so many commands, up to its limit', () => {
    expect([0, 99, 100, 200, 300, 400].map((issued) => perMinute(rate, issued))).toEqual([60, 60, 120, 240, 480, 500])
  })

  it('makes no burst of the time in which nothing could go out', () => {
    expect(tokensOf(rate, 0, { tokens: 0, atMs: 0 }, 24 * HOUR).tokens).toBe(1)
    expect(tokensOf(rate, 400, { tokens: 0, atMs: 0 }, 24 * HOUR).tokens).toBeCloseTo(500 / 60)
  })
})

describe('the next attempt of a device', () => {
  const task = options({ retries: { max: 3, backoff_ms: 1_000, max_backoff_ms: 3_000, on: ['FAILED'] } })
  const attemptAfter = (outcome: 'FAILED' | 'TIMED_OUT', attempt: number, expiresAtMs = NOW + HOUR, fraction = 0.999) =>
    nextAttemptAtMs({
      outcome,
      attempt,
      task,
      nowMs: NOW,
      expiresAtMs,
      random: { fraction: () => fraction, bytes: () => new Uint8Array() },
    })

  it('comes later each time, up to the cap, with full jitter', () => {
    expect([1, 2, 3].map((attempt) => (attemptAfter('FAILED', attempt) as number) - NOW)).toEqual([999, 1_998, 2_997])
    expect(attemptAfter('FAILED', 3, NOW + HOUR, 0)).toBe(NOW)
  })

  it('does not come after the last one, after another outcome, or after the expiry', () => {
    expect(attemptAfter('FAILED', 4)).toBeNull()
    expect(attemptAfter('TIMED_OUT', 1)).toBeNull()
    expect(attemptAfter('FAILED', 1, NOW + 500)).toBeNull()
  })
})

describe('a whole task, in virtual time', () => {
  const seeds = Array.from({ length: 30 }, (_, index) => 1 + index)

  it.each(seeds)('ends with one outcome a device and keeps every limit, seed %i', (seed) => {
    const random = seededRandom(seed)
    const pick = (most: number) => 1 + Math.floor(random.fraction() * most)
    const concurrency = pick(200)
    const per_minute = pick(600)
    const task = options({
      concurrency,
      ...(random.fraction() < 0.5
        ? { rate: { per_minute, growth_factor: 1.5, grow_after: 50, max_per_minute: 5_000 } }
        : {}),
      retries: { max: pick(4) - 1, backoff_ms: 2_000, max_backoff_ms: 60_000 },
      ...(random.fraction() < 0.4 ? { abort: [{ on: 'ANY' as const, percent: 30, min_results: 20 }] } : {}),
    })
    const run = simulateTask({
      devices: pick(500),
      options: task,
      random,
      expiresAfterMs: pick(4) * 600_000,
      failing: random.fraction() * 0.5,
      silent: random.fraction() * 0.3,
      cancelAfterMs: random.fraction() < 0.3 ? pick(300_000) : null,
      takeoverEveryMs: random.fraction() < 0.5 ? 45_000 : null,
    })
    expect(run.outcomes.every((count) => count === 1)).toBe(true)
    expect(run.mostInFlight).toBeLessThanOrEqual(concurrency)
    expect(run.mostAttempts).toBeLessThanOrEqual(task.retries.max + 1)
    expect(run.issuedAfterExpiry).toBe(0)
    expect(run.issuedAfterStopping).toBe(0)
    expect(run.rateExcess).toBeLessThanOrEqual(0)
    expect(Object.values(run.tally).reduce((sum, count) => sum + count, 0)).toBe(run.outcomes.length)
    expect(['COMPLETED', 'CANCELLED', 'ABORTED']).toContain(run.state)
  })

  it('takes the time that its rate says', () => {
    const task = options({ rate: { per_minute: 60, growth_factor: 2, grow_after: 60, max_per_minute: 240 } })
    const run = simulateTask({ devices: 300, options: task, random: seededRandom(7), expiresAfterMs: 24 * HOUR })
    // 60 at 60, 60 at 120, 180 at 240 a minute: 60 + 30 + 45 seconds, and the answers of the last.
    expect(run.lastIssuedMs / 1_000).toBeGreaterThan(130)
    expect(run.lastIssuedMs / 1_000).toBeLessThan(145)
    expect(run.state).toBe('COMPLETED')
  })
})
