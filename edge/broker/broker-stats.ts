/** What the broker can tell of itself, for metrics and status. */

import type { Connections } from './connections.ts'
import type { BrokerCounters, DropReason, PublishChannel, RefusalReason } from './counters.ts'
import type { Gate } from './gate.ts'
import type { DurablePersistence } from './persistence/durable-persistence.ts'
import type { SessionJournal } from './persistence/session-journal.ts'
import type { ListenerKind } from './transport.ts'

export interface BrokerStats {
  readonly connections: number
  readonly connectionsByListener: Readonly<Record<ListenerKind, number>>
  readonly logins: number
  /** MQTT messages taken, by channel. */
  readonly publishes: Readonly<Record<PublishChannel, number>>
  /** Those that did not need the MQTT engine. */
  readonly publishesDirect: number
  readonly refused: Readonly<Record<RefusalReason, number>>
  readonly droppedDeliveries: Readonly<Record<DropReason, number>>
  readonly statusFactsLost: number
  /** Connections that have not logged in. */
  readonly halfOpen: number
  /** Times a client was not read for a while because it sent too fast. */
  readonly throttled: number
  /** Lockouts that began. */
  readonly lockouts: number
  /** Durable sessions, whether connected or away. */
  readonly sessions: number
  /** Messages waiting in durable sessions. */
  readonly queuedMessages: number
  readonly retainedMessages: number
  /** Why sessions are not stored at present; null when they are. */
  readonly sessionsFailing: string | null
}

/** @param running the parts, while they are there. */
export function brokerStats(
  counters: BrokerCounters,
  running: {
    readonly connections: Connections
    readonly persistence: DurablePersistence
    readonly journal: SessionJournal
    readonly gate: Gate
  } | null,
): BrokerStats {
  return {
    connections: running?.connections.size ?? 0,
    connectionsByListener: running?.connections.countByListener() ?? { tcp: 0, tls: 0, websocket: 0 },
    logins: counters.logins,
    publishes: { ...counters.publishes },
    publishesDirect: counters.publishesDirect,
    refused: { ...counters.refused },
    droppedDeliveries: { ...counters.dropped },
    statusFactsLost: counters.statusFactsLost,
    halfOpen: running?.gate.halfOpenCount ?? 0,
    throttled: counters.throttled,
    lockouts: counters.lockouts,
    sessions: running?.persistence.register.size ?? 0,
    queuedMessages: running?.persistence.queuedCount ?? 0,
    retainedMessages: running?.persistence.retainedCount ?? 0,
    sessionsFailing: running?.journal.failing ?? null,
  }
}
