/**
 * Finds out which records of many fail by themselves: all at once, and halves of what fails. One poison record among
 * thousands costs some dozen transactions. Records of a lane (a key) keep their order: behind one that fails nothing of its
 * lane is handled.
 */

import { BusbarError } from '../../shared/errors.ts'

export interface InLane {
  /** What keeps its order among the records given. */
  readonly lane: string
}

export interface IsolationOptions<R extends InLane> {
  /** Makes the effects of the records durable, all or none. */
  readonly handle: (records: readonly R[]) => Promise<void>
  /** Calls of `handle`; what is left then is among `waiting`. */
  readonly callsMax: number
  /** When it aborts no further call is begun. */
  readonly signal: AbortSignal
}

export interface Isolated<R> {
  readonly done: readonly R[]
  /** Records that failed when they were tried alone, the first of their lanes. */
  readonly failed: readonly { readonly record: R; readonly error: unknown }[]
  /** Those behind them, and what it did not come to; in their order. */
  readonly waiting: readonly R[]
  /** What `handle` threw when something it needs is away; null when all went its way. Nothing is tried after that. */
  readonly outage: { readonly error: unknown } | null
  /** Calls that were made. */
  readonly calls: number
}

/** Not retryable by itself, since an operator has to mend it, but no more a record's fault than what is. */
const REFUSALS_OF_ALL = new Set(['DATABASE_REFUSED'])

/** True when the error says that something needed is away, rather than that a record is at fault. */
export function isAway(error: unknown): boolean {
  return error instanceof BusbarError && (error.retryable || REFUSALS_OF_ALL.has(error.code))
}

/** Never rejects. */
export async function isolate<R extends InLane>(
  records: readonly R[],
  { handle, callsMax, signal }: IsolationOptions<R>,
): Promise<Isolated<R>> {
  const done: R[] = []
  const failed: { record: R; error: unknown }[] = []
  const waiting: R[] = []
  const stuck = new Set<string>()
  let outage: Isolated<R>['outage'] = null
  let calls = 0
  // A stack of slices, the first one on top, so that slices are handled in the order of the records.
  const slices: (readonly R[])[] = [records]
  for (let slice = slices.pop(); slice !== undefined; slice = slices.pop()) {
    const ready = stuck.size === 0 ? slice : slice.filter(({ lane }) => !stuck.has(lane))
    if (ready.length < slice.length) waiting.push(...slice.filter(({ lane }) => stuck.has(lane)))
    const [first] = ready
    if (first === undefined) continue
    if (outage !== null || calls >= callsMax || signal.aborted) {
      waiting.push(...ready)
      for (const { lane } of ready) stuck.add(lane)
      continue
    }
    calls++
    try {
      await handle(ready)
      done.push(...ready)
    } catch (error) {
      if (isAway(error)) {
        outage = { error }
        slices.push(ready)
      } else if (ready.length === 1) {
        failed.push({ record: first, error })
        stuck.add(first.lane)
      } else {
        const middle = ready.length >> 1
        slices.push(ready.slice(middle), ready.slice(0, middle))
      }
    }
  }
  return { done, failed, waiting, outage, calls }
}
