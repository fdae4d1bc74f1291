/**
 * Time as a parameter. Nothing outside this file reads a clock or sets a timer by itself, so that a simulation can run
 * a year of outages in seconds and a clock step cannot surprise anyone.
 */

/** A timer that can be cancelled; cancelling one that has fired, or twice, does nothing. */
export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Unix time in milliseconds. May jump either way; never use it to measure a duration. */
  wallMs(): number
  /** Milliseconds since an arbitrary start, never going backwards; the only clock for durations and timers. */
  monotonicMs(): number
  /** Calls `fn` once after `delayMs` of monotonic time. */
  after(delayMs: number, fn: () => void): Timer
  /** Calls `fn` every `periodMs` of monotonic time until cancelled. */
  every(periodMs: number, fn: () => void): Timer
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, fn) {
    const handle = setTimeout(fn, delayMs)
    return { cancel: () => clearTimeout(handle) }
  },
  every(periodMs, fn) {
    const handle = setInterval(fn, periodMs)
    return { cancel: () => clearInterval(handle) }
  },
}

/** Resolves after `delayMs`, or at once when `signal` is or becomes aborted. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const wake = () => {
      timer.cancel()
      signal?.removeEventListener('abort', wake)
      resolve()
    }
    const timer = clock.after(delayMs, wake)
    signal?.addEventListener('abort', wake, { once: true })
  })
}
