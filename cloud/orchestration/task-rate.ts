/**
 * The rate of a task: so many commands a minute, more after every so many, like a rollout that grows while it goes well. A
 * bucket of tokens holds no more than a second's worth, so what could not go out in time does not follow in a burst. Pure.
 */

import { MINUTE_MS } from '../../shared/durations.ts'
import type { TaskRate } from './task-options.ts'

export interface RateBucket {
  readonly tokens: number
  /** Monotonic milliseconds at which the tokens were counted. */
  readonly atMs: number
}

/** Commands a minute when `issued` have gone out. */
export function perMinute(rate: TaskRate, issued: number): number {
  const grown = rate.per_minute * rate.growth_factor ** Math.floor(issued / rate.grow_after)
  return Math.min(rate.max_per_minute, grown)
}

/** The bucket now. The first one lets a single command through: nobody knows when the last of another runner went. */
export function tokensOf(rate: TaskRate, issued: number, before: RateBucket | null, nowMs: number): RateBucket {
  if (before === null) return { tokens: 1, atMs: nowMs }
  const each = perMinute(rate, issued) / MINUTE_MS
  const tokens = before.tokens + Math.max(0, nowMs - before.atMs) * each
  return { tokens: Math.min(Math.max(1, each * 1_000), tokens), atMs: nowMs }
}

export function spend(bucket: RateBucket, commands: number): RateBucket {
  return { ...bucket, tokens: bucket.tokens - commands }
}

/** Until one more may go out, milliseconds. */
export function waitForTokenMs(rate: TaskRate, issued: number, bucket: RateBucket): number {
  return Math.ceil((Math.max(0, 1 - bucket.tokens) * MINUTE_MS) / perMinute(rate, issued))
}
