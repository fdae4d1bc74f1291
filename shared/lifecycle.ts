/** Starting and stopping the parts of a process in order, with one deadline for the whole stop. */

import type { Clock } from './clock.ts'
import { messageOf } from './errors.ts'
import type { Logger } from './log.ts'

/** A part of a process. Constructing one has no side effects; `start` and `stop` are idempotent. */
export interface Part {
  readonly name: string
  start(): Promise<void>
  /** Finishes what is in hand; when `deadline` aborts it lets go at once. */
  stop(deadline: AbortSignal): Promise<void>
}

export interface Assembly {
  /** Starts the parts in order; when one fails, stops those that had started and throws its error. */
  start(): Promise<void>
  /** Stops the parts in `stopOrder`; true when all finished before the deadline. */
  stop(): Promise<boolean>
}

/**
 * Joins parts into one. `startOrder` lists every part; `stopOrder` is the order in which they let go, which is seldom
 * the reverse: what takes in stops first, what drains stops last.
 */
export function assemble(options: {
  readonly startOrder: readonly Part[]
  readonly stopOrder: readonly Part[]
  readonly stopTimeoutMs: number
  readonly clock: Clock
  readonly log: Logger
}): Assembly {
  const { startOrder, stopOrder, stopTimeoutMs, clock, log } = options
  const started = new Set<Part>()
  let stopping: Promise<boolean> | null = null

  const stopAll = async (): Promise<boolean> => {
    const deadline = new AbortController()
    const timer = clock.after(stopTimeoutMs, () => deadline.abort())
    let graceful = true
    for (const part of stopOrder) {
      if (!started.has(part)) continue
      const finished = await settledOrAborted(part, deadline.signal, log)
      graceful &&= finished
      started.delete(part)
    }
    timer.cancel()
    return graceful
  }

  const stop = (): Promise<boolean> => {
    stopping ??= stopAll()
    return stopping
  }

  return {
    async start() {
      for (const part of startOrder) {
        // A stop that came while a part was starting has taken care of that part.
        if (stopping !== null) return
        try {
          started.add(part)
          await part.start()
        } catch (error) {
          await stop()
          throw error
        }
      }
    },
    stop,
  }
}

/** True when the part stopped by itself; a part that ignores its deadline is left behind and named. */
async function settledOrAborted(part: Part, deadline: AbortSignal, log: Logger): Promise<boolean> {
  const aborted = new Promise<'aborted'>((resolve) => {
    // One turn of grace after the deadline, so that a part that lets go at once still counts as stopped.
    const give = () => setImmediate(() => resolve('aborted'))
    if (deadline.aborted) give()
    else deadline.addEventListener('abort', give, { once: true })
  })
  try {
    const outcome = await Promise.race([part.stop(deadline).then(() => 'stopped' as const), aborted])
    if (outcome === 'stopped') return !deadline.aborted
    log.warn({ part: part.name }, 'part did not stop before the deadline')
    return false
  } catch (error) {
    log.error({ part: part.name, error: messageOf(error) }, 'part failed to stop')
    return false
  }
}

/** Parts that do not wait for one another, neither to start nor to stop. */
export function sideBySide(name: string, parts: readonly Part[]): Part {
  return {
    name,
    async start() {
      await Promise.all(parts.map((part) => part.start()))
    },
    async stop(deadline) {
      await Promise.all(parts.map((part) => part.stop(deadline)))
    },
  }
}
