/** What the broker needs of the spool: a place that says when a record is on disk. */

import type { BusbarError } from '../../shared/errors.ts'
import type { Lane } from '../../shared/lanes.ts'

export interface CommitListener {
  /** Called once per append, in append order; `error` is null when the record is durable. */
  committed(token: number, error: BusbarError | null): void
}

export interface DurableLog {
  /** Never throws; copies `payload` before it returns. */
  append(lane: Lane, topic: string, payload: Uint8Array, listener: CommitListener, token: number): void
  /** `fn` runs after all `committed` calls of one group commit: the moment to write acknowledgements. */
  onSettled(fn: () => void): void
  /** False while too much is waiting for the disk. */
  readonly accepting: boolean
  /** `fn` runs when `accepting` becomes true again. */
  onAccepting(fn: () => void): void
}
