/**
 * What a running task does next, from what is known of it now: how many devices get their command, whether it aborts, ends
 * what waits, or is done, and when to look again. Pure, so that a whole task can be simulated in virtual time.
 */

import type { Random } from '../../shared/random.ts'
import { fullJitterMs } from '../../shared/retry.ts'
import { FINAL_STATES, type FinalState } from '../gateways/gateways.ts'
import type { AbortThreshold, RetryCause, TaskOptions } from './task-options.ts'
import { type RateBucket, spend, tokensOf, waitForTokenMs } from './task-rate.ts'
import { nextTaskState, type RunnableState, type TaskEvent } from './task-state.ts'

export type Results = Readonly<Record<FinalState, number>>
export const NO_RESULTS: Results = { SUCCEEDED: 0, FAILED: 0, REJECTED: 0, TIMED_OUT: 0, EXPIRED: 0, CANCELLED: 0 }

/** Devices are counted once: waiting, in flight, reported or, finally, tallied. */
export interface TaskCounts {
  /** Devices without a command, those that cannot get one left out. */
  readonly waiting: number
  /** Those of them whose next attempt may begin. */
  readonly ready: number
  /** When the first of the others may; null when there is none. */
  readonly nextReadyAtMs: number | null
  /** Devices that can get no command: they are not registered. */
  readonly unreachable: number
  /** Devices whose command has no outcome yet. */
  readonly inFlight: number
  /** Devices whose outcome is known and not yet tallied. */
  readonly reported: number
  /** Outcomes of this round, tallied or not. */
  readonly results: Results
  /** Commands issued in this round. */
  readonly issued: number
}

/** A task at one moment. */
export interface TaskSnapshot extends TaskCounts {
  /** Unix milliseconds. */
  readonly nowMs: number
  /** For the rate. */
  readonly monotonicMs: number
  readonly state: RunnableState
  readonly options: TaskOptions
  readonly expiresAtMs: number
  /** Of the turn before; null at the first one of this runner. */
  readonly bucket: RateBucket | null
}

export interface TaskPlan {
  /** 'abort' or 'ended' when the task's state changes. */
  readonly event: Extract<TaskEvent, 'abort' | 'ended'> | null
  /** Why it aborts, for people. */
  readonly reason: string | null
  /** Devices that get their command now. */
  readonly issue: number
  /** What becomes of every device that waits; null when it may wait on. */
  readonly endWaiting: 'EXPIRED' | 'CANCELLED' | null
  /** Whether commands on the way are asked back. */
  readonly cancelInFlight: boolean
  /** When to look again if nothing changes, milliseconds from now; null when only a change matters. */
  readonly againMs: number | null
  readonly bucket: RateBucket | null
}

export function planTask(snapshot: TaskSnapshot): TaskPlan {
  const { waiting, unreachable, inFlight, reported, state, nowMs, expiresAtMs } = snapshot
  const idle = { event: null, reason: null, issue: 0, endWaiting: null, cancelInFlight: false, againMs: null } as const
  const { bucket } = snapshot
  if (waiting + unreachable + inFlight + reported === 0) return { ...idle, event: 'ended', bucket }
  if (state !== 'RUNNING') return { ...idle, ...stopping(snapshot), bucket }
  const reason = waiting + inFlight > 0 ? abortReason(snapshot.options.abort, snapshot.results) : null
  if (reason !== null && nextTaskState(state, 'abort') !== null) {
    return { ...idle, ...stopping(snapshot), event: 'abort', reason, bucket }
  }
  if (nowMs >= expiresAtMs) return { ...idle, endWaiting: waiting > 0 ? 'EXPIRED' : null, bucket }
  return { ...idle, ...issuing(snapshot) }
}

/** When the device's next attempt begins, Unix milliseconds; null when `outcome` is its last. */
export function nextAttemptAtMs(options: {
  readonly outcome: FinalState
  /** Commands issued so far in this round, at least 1. */
  readonly attempt: number
  readonly task: TaskOptions
  readonly nowMs: number
  readonly expiresAtMs: number
  readonly random: Random
}): number | null {
  const { outcome, attempt, task, nowMs, expiresAtMs, random } = options
  const { max, on, backoff_ms: baseMs, max_backoff_ms: capMs } = task.retries
  if (attempt > max || !on.includes(outcome as RetryCause)) return null
  const atMs = nowMs + Math.ceil(fullJitterMs(attempt - 1, { baseMs, capMs }, random))
  return atMs < expiresAtMs ? atMs : null
}

/** Says which threshold was reached; null when none was. */
export function abortReason(thresholds: readonly AbortThreshold[], results: Results): string | null {
  const total = FINAL_STATES.reduce((sum, state) => sum + results[state], 0)
  for (const { on, percent, min_results } of thresholds) {
    if (total < min_results) continue
    const failed = on === 'ANY' ? results.FAILED + results.REJECTED + results.TIMED_OUT + results.EXPIRED : results[on]
    if (failed === 0 || failed * 100 < percent * total) continue
    const what = on === 'ANY' ? 'failed' : `ended as ${on}`
    return `${failed} of ${total} devices ${what}, which reaches the threshold of ${percent}%`
  }
  return null
}

function stopping({ waiting, inFlight }: TaskSnapshot) {
  return { endWaiting: waiting > 0 ? ('CANCELLED' as const) : null, cancelInFlight: inFlight > 0 }
}

function issuing(snapshot: TaskSnapshot): Pick<TaskPlan, 'issue' | 'againMs' | 'bucket'> {
  const { options, nowMs, monotonicMs, expiresAtMs, waiting, ready, nextReadyAtMs, inFlight, issued } = snapshot
  const slots = Math.max(0, options.concurrency - inFlight)
  const { rate } = options
  const bucket = rate === null ? null : tokensOf(rate, issued, snapshot.bucket, monotonicMs)
  const issue = Math.min(ready, slots, bucket === null ? ready : Math.floor(bucket.tokens))
  const left = bucket === null ? null : spend(bucket, issue)
  const moments: number[] = []
  if (waiting > issue) {
    moments.push(expiresAtMs - nowMs)
    // Without a slot it is a change that matters, not the time.
    if (slots > issue && nextReadyAtMs !== null) moments.push(nextReadyAtMs - nowMs)
    if (slots > issue && ready > issue && rate !== null && left !== null) {
      moments.push(waitForTokenMs(rate, issued + issue, left))
    }
  }
  return { issue, bucket: left, againMs: moments.length === 0 ? null : Math.max(1, Math.min(...moments)) }
}
