/** A whole task in virtual time: the plan decides, simulated devices answer, and what must never happen is counted. */

import type { FinalState } from '../../../../cloud/gateways/gateways.ts'
import type { TaskOptions } from '../../../../cloud/orchestration/task-options.ts'
import { NO_RESULTS, nextAttemptAtMs, planTask } from '../../../../cloud/orchestration/task-plan.ts'
import { perMinute, type RateBucket } from '../../../../cloud/orchestration/task-rate.ts'
import { isRunnable, nextTaskState, type TaskState } from '../../../../cloud/orchestration/task-state.ts'
import type { Random } from '../../../../shared/random.ts'

interface SimulatedDevice {
  attempt: number
  readyAtMs: number
  /** Outcome that its command will have, and when; null while it has no command. */
  flight: { readonly outcome: FinalState; readonly atMs: number } | null
  outcome: FinalState | null
  tallyAtMs: number | null
}

export interface SimulatedRun {
  readonly state: TaskState
  readonly tally: Record<FinalState, number>
  /** Of each device, how many outcomes it had. */
  readonly outcomes: number[]
  readonly mostInFlight: number
  readonly mostAttempts: number
  readonly issuedAfterExpiry: number
  readonly issuedAfterStopping: number
  /** By how much the commands of any minute exceeded the rate of its end. */
  readonly rateExcess: number
  readonly lastIssuedMs: number
}

export function simulateTask(given: {
  readonly devices: number
  readonly options: TaskOptions
  readonly random: Random
  readonly expiresAfterMs: number
  /** Shares of the commands that fail, and that nobody answers. */
  readonly failing?: number
  readonly silent?: number
  readonly cancelAfterMs?: number | null
  /** Another runner takes over, and knows nothing of the bucket. */
  readonly takeoverEveryMs?: number | null
}): SimulatedRun {
  const {
    options,
    random,
    expiresAfterMs,
    failing = 0,
    silent = 0,
    cancelAfterMs = null,
    takeoverEveryMs = null,
  } = given
  const devices = Array.from({ length: given.devices }, (): SimulatedDevice => {
    return { attempt: 0, readyAtMs: 0, flight: null, outcome: null, tallyAtMs: null }
  })
  const outcomes = devices.map(() => 0)
  const tally = { ...NO_RESULTS } as Record<FinalState, number>
  const issues: { atMs: number; issuedBefore: number }[] = []
  const counts = { mostInFlight: 0, issuedAfterExpiry: 0, issuedAfterStopping: 0, lastIssuedMs: 0 }
  let state: TaskState = 'RUNNING'
  let bucket: RateBucket | null = null
  let nowMs = 0
  let lastTakeoverMs = 0

  const end = (device: SimulatedDevice, outcome: FinalState) => {
    device.flight = null
    device.outcome = outcome
    device.tallyAtMs = nowMs + Math.floor(random.fraction() * 200)
    outcomes[devices.indexOf(device)] = (outcomes[devices.indexOf(device)] as number) + 1
  }
  const settle = () => {
    for (const device of devices) {
      const { flight } = device
      if (flight === null || flight.atMs > nowMs) continue
      const againAtMs = isCalm(state)
        ? nextAttemptAtMs({
            outcome: flight.outcome,
            attempt: device.attempt,
            task: options,
            nowMs,
            expiresAtMs: expiresAfterMs,
            random,
          })
        : null
      if (againAtMs === null) end(device, flight.outcome)
      else Object.assign(device, { flight: null, readyAtMs: againAtMs })
    }
  }
  const issue = (device: SimulatedDevice) => {
    if (nowMs >= expiresAfterMs) counts.issuedAfterExpiry++
    if (!isCalm(state)) counts.issuedAfterStopping++
    issues.push({ atMs: nowMs, issuedBefore: issues.length })
    counts.lastIssuedMs = nowMs
    device.attempt++
    const luck = random.fraction()
    const answersMs = 50 + random.fraction() * 5_000
    device.flight =
      luck < silent
        ? { outcome: 'TIMED_OUT', atMs: nowMs + options.timeout_ms }
        : { outcome: luck < silent + failing ? 'FAILED' : 'SUCCEEDED', atMs: nowMs + answersMs }
  }

  for (let turns = 0; isRunnable(state); turns++) {
    if (turns > 1_000_000) throw new Error('the task does not end')
    settle()
    if (cancelAfterMs !== null && nowMs >= cancelAfterMs) state = nextTaskState(state, 'cancel') ?? state
    if (takeoverEveryMs !== null && nowMs - lastTakeoverMs >= takeoverEveryMs) {
      lastTakeoverMs = nowMs
      bucket = null
    }
    const waiting = devices.filter((each) => each.outcome === null && each.flight === null)
    const ready = waiting.filter((each) => each.readyAtMs <= nowMs)
    const later = waiting.filter((each) => each.readyAtMs > nowMs).map((each) => each.readyAtMs)
    const inFlight = devices.filter((each) => each.flight !== null)
    const results = { ...NO_RESULTS } as Record<FinalState, number>
    for (const { outcome } of devices) if (outcome !== null) results[outcome]++
    const plan = planTask({
      nowMs,
      monotonicMs: nowMs,
      state: state as never,
      options,
      expiresAtMs: expiresAfterMs,
      waiting: waiting.length,
      ready: ready.length,
      nextReadyAtMs: later.length === 0 ? null : Math.min(...later),
      unreachable: 0,
      inFlight: inFlight.length,
      reported: devices.filter((each) => each.tallyAtMs !== null && each.tallyAtMs > nowMs).length,
      results,
      issued: issues.length,
      bucket,
    })
    bucket = plan.bucket
    if (plan.event !== null) state = nextTaskState(state, plan.event) as TaskState
    for (const device of ready.slice(0, plan.issue)) issue(device)
    if (plan.endWaiting !== null) for (const device of waiting) end(device, plan.endWaiting)
    if (plan.cancelInFlight) for (const device of inFlight) if (random.fraction() < 0.5) end(device, 'CANCELLED')
    counts.mostInFlight = Math.max(counts.mostInFlight, devices.filter((each) => each.flight !== null).length)
    const moments = devices.flatMap((each) => [each.flight?.atMs ?? null, each.tallyAtMs])
    const next = [...moments, plan.againMs === null ? null : nowMs + plan.againMs, cancelAfterMs]
      .filter((atMs) => atMs !== null)
      .filter((atMs) => atMs > nowMs)
    nowMs = next.length === 0 ? nowMs + 1_000 : Math.ceil(Math.min(...next))
  }

  for (const { outcome } of devices) if (outcome !== null) tally[outcome]++
  return {
    ...counts,
    state,
    tally,
    outcomes,
    mostAttempts: Math.max(...devices.map((each) => each.attempt)),
    rateExcess: takeoverEveryMs === null ? rateExcess(options, issues) : 0,
  }
}

function isCalm(state: TaskState): boolean {
  return state === 'RUNNING'
}

/** A second's worth may have gathered before the minute, and its first command goes at once. */
function rateExcess({ rate }: TaskOptions, issues: readonly { atMs: number; issuedBefore: number }[]): number {
  if (rate === null) return 0
  let worst = Number.NEGATIVE_INFINITY
  let first = 0
  for (const [index, issue] of issues.entries()) {
    while ((issues[first] as { atMs: number }).atMs <= issue.atMs - 60_000) first++
    const allowed = (perMinute(rate, issue.issuedBefore) * 61) / 60 + 1
    worst = Math.max(worst, index - first + 1 - allowed)
  }
  return worst
}
