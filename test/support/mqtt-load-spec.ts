/** What the load generator is asked to do and what it reports; both travel as JSON. */

import type { LatencySummary } from './latency-histogram.ts'

/** A device as the generator plays it. */
export interface LoadDevice {
  readonly clientId: string
  readonly topic: string
  readonly username?: string
  readonly password?: string
}

export interface LoadSpec {
  readonly host: string
  readonly port: number
  readonly devices: readonly LoadDevice[]
  /** Messages each client keeps in flight; 0 connects and stays silent. */
  readonly inFlight: number
  /** Ends after this many messages in all. */
  readonly messages?: number
  /** Ends after this long, milliseconds, not counting the warm-up; without both it runs until SIGTERM. */
  readonly durationMs?: number
  /** Runs this long before it measures, milliseconds. */
  readonly warmUpMs?: number
  /**
   * Messages a second over all clients, sent when due whether or not earlier ones were acknowledged, as far as
   * `inFlight` allows; the latency of a message that is sent late counts from when it was due. Without it each client
   * fills its window.
   */
  readonly ratePerSecond?: number
  /** `constant`: the same bytes always; `substation`: readings of the simulated substation. */
  readonly payload: 'constant' | 'substation'
  /** Bytes of a constant payload; default 200. */
  readonly payloadBytes?: number
  /** Different payloads per client; default 500 for the substation. */
  readonly payloadPool?: number
  /** Puts `mark` (counter per client, ten digits) and `sentAtUs` into every reading. */
  readonly marked?: boolean
  /** Connects again when the broker goes away and sends what was not acknowledged once more. */
  readonly reconnect?: boolean
  /** After the end, how long to wait for outstanding acknowledgements, milliseconds; default 10,000. */
  readonly drainMs?: number
  readonly seed?: number
}

/** Standard output is one of these a line: `ready`, then a `progress` a second, then `result`. */
export type LoadLine =
  | { readonly type: 'ready' }
  | { readonly type: 'progress'; readonly sent: number; readonly acked: number }
  | ({ readonly type: 'result' } & LoadResult)

export interface LoadResult {
  readonly sent: number
  readonly acked: number
  /** Acknowledged messages a second while measuring. */
  readonly ratePerSecond: number
  readonly measuredMs: number
  readonly latency: LatencySummary
  /** Bytes of all payloads sent, on average. */
  readonly payloadBytesMean: number
  /** Open loop only: messages that were due and had not been sent at the end, because windows were full. */
  readonly behind: number
  readonly reconnects: number
  readonly cpuMs: number
  /** Counters per client that were sent and not acknowledged; clients without any are left out. */
  readonly unacknowledged: Readonly<Record<string, readonly number[]>>
  readonly sentPerClient: Readonly<Record<string, number>>
}
