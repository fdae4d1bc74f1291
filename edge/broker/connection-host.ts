/** What a connection needs of its broker, and why the broker has it pause. */

import type { Timer } from '../../shared/clock.ts'
import type { Connection } from './connection.ts'
import type { RefusalReason } from './counters.ts'
import type { EngineClient } from './engine.ts'
import type { EngineStream } from './engine-stream.ts'
import type { BrokerLimits } from './limits.ts'

/** Reasons not to read from a client, as bits. */
export const PAUSED = { login: 1, engine: 2, output: 4, spool: 8, leaving: 16, rate: 32 } as const
export type PauseReason = (typeof PAUSED)[keyof typeof PAUSED]

/** How long a client may take to read the last bytes of a connection that ends, milliseconds. */
export const CLOSE_GRACE_MS = 1000

export interface ConnectionHost {
  readonly limits: BrokerLimits
  wallMs(): number
  after(delayMs: number, fn: () => void): Timer
  attachEngine(stream: EngineStream): EngineClient
  /** Takes the guard's current frame, a PUBLISH, without the engine; false when the engine has to. */
  takeDirect(connection: Connection, first: number): boolean
  /** Have `connection.flush()` called after the present group commit, or at the end of this turn. */
  flushSoon(connection: Connection): void
  /** False while the spool takes no more; the connection is told when it does again. */
  spoolAccepts(connection: Connection): boolean
  /** Bytes wait that the client has not read: it is no longer read either, and cut when there are too many. */
  congested(connection: Connection, unreadBytes: number): void
  count(connection: Connection, reason: RefusalReason, fields?: Record<string, unknown>): void
  /** The client was let in; nothing it sent since was looked at yet. */
  accepted(connection: Connection): void
  /** The client is gone for the protocol; once. */
  departed(connection: Connection): void
  /** Nothing of the connection is left; once. */
  closedOne(connection: Connection): void
}
