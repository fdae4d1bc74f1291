/** All connections: taking them in, writing for them together, and cutting those that do not read. */

import type { Clock, Timer } from '../../shared/clock.ts'
import { Connection } from './connection.ts'
import { type ConnectionHost, PAUSED } from './connection-host.ts'
import type { BrokerCounters, RefusalReason } from './counters.ts'
import type { DurableLog } from './durable-log.ts'
import type { EngineClient } from './engine.ts'
import type { EngineStream } from './engine-stream.ts'
import type { LimitedLog } from './limited-log.ts'
import type { BrokerLimits } from './limits.ts'
import type { PublishIntake } from './publish-intake.ts'
import { LISTENER_KINDS, type ListenerKind, type Transport } from './transport.ts'

const TICK_MS = 250

/** What to do, by reason of a refusal that an operator can do something about. */
const REMEDIES: Partial<Record<RefusalReason, string>> = {
  'frame-too-large': 'Send smaller payloads, or raise mqtt.frameBytesMax.',
  'bad-credentials': 'Check username and secret; `busbar-edge device add` makes new ones.',
  anonymous: 'Give the client a login with `busbar-edge device add`.',
  'client-id-taken': 'Give each client an id of its own; ids belong to the login that used them first.',
  'other-device': 'A device may publish below its own sites/{siteId}/devices/{serialNumber}/ only.',
  'publish-denied': 'Publish on sites/{siteId}/devices/{serialNumber}/telemetry, status or responses only.',
  'will-denied': 'A last will has to be on a topic that the client may publish on.',
  'too-many-connections': 'Raise mqtt.connectionsMax, or look for clients that reconnect without end.',
}

export interface ConnectionsOptions {
  readonly limits: BrokerLimits
  readonly clock: Clock
  readonly log: DurableLog
  readonly counters: BrokerCounters
  readonly warnings: LimitedLog
  readonly intake: PublishIntake
  readonly attachEngine: (stream: EngineStream) => EngineClient
  readonly accepted: (connection: Connection) => void
  readonly departed: (connection: Connection) => void
}

export class Connections implements ConnectionHost {
  readonly limits: BrokerLimits
  private readonly options: ConnectionsOptions
  private readonly all = new Set<Connection>()
  private unflushed: Connection[] = []
  private flushScheduled = false
  /** With what each had taken of its bytes, and since when it has taken no more. */
  private readonly slow = new Map<Connection, { takenBytes: number; sinceMs: number }>()
  private readonly awaitingSpool = new Set<Connection>()
  private ticking: Timer | null = null
  private whenSettled: (() => void) | null = null

  constructor(options: ConnectionsOptions) {
    this.options = options
    this.limits = options.limits
  }

  start(): void {
    const { log, clock } = this.options
    log.onSettled(() => this.flushAll())
    log.onAccepting(() => this.resumeForSpool())
    this.ticking = clock.every(TICK_MS, () => this.tick())
  }

  get size(): number {
    return this.all.size
  }

  countByListener(): Record<ListenerKind, number> {
    const counts = Object.fromEntries(LISTENER_KINDS.map((kind) => [kind, 0])) as Record<ListenerKind, number>
    for (const { transport } of this.all) counts[transport.kind]++
    return counts
  }

  accept(transport: Transport): void {
    if (this.all.size >= this.limits.connectionsMax) {
      this.options.counters.refused['too-many-connections']++
      const remedy = REMEDIES['too-many-connections']
      this.options.warnings.warn('too-many-connections', { remote: transport.remoteAddress, remedy }, 'client refused')
      transport.destroy()
      return
    }
    const connection = new Connection(transport, this)
    this.all.add(connection)
    transport.open(connection)
  }

  /** Reads no more and resolves when all that was taken is on disk and acknowledged, or when `deadline` aborts. */
  settle(deadline: AbortSignal): Promise<void> {
    for (const connection of this.all) connection.setPaused(PAUSED.leaving, true)
    return new Promise((resolve) => {
      this.whenSettled = resolve
      deadline.addEventListener('abort', () => resolve(), { once: true })
      if (deadline.aborted) resolve()
      this.reportSettled()
    })
  }

  /** Has the engine publish no will when it closes. */
  keepWills(): void {
    for (const { engineClient } of this.all) if (engineClient !== null) engineClient.will = null
  }

  /** Resolves when no connection is left; those that are when `deadline` aborts are cut. */
  async closed(deadline: AbortSignal): Promise<void> {
    this.ticking?.cancel()
    const cut = (): void => {
      for (const connection of [...this.all]) connection.transport.destroy()
    }
    deadline.addEventListener('abort', cut, { once: true })
    if (deadline.aborted) cut()
    for (const connection of [...this.all]) connection.engineCloses()
    while (this.all.size > 0 && !deadline.aborted) {
      await new Promise<void>((resolve) => this.options.clock.after(10, resolve))
    }
    deadline.removeEventListener('abort', cut)
  }

  // For a connection.

  wallMs(): number {
    return this.options.clock.wallMs()
  }

  after(delayMs: number, fn: () => void): Timer {
    return this.options.clock.after(delayMs, fn)
  }

  attachEngine(stream: EngineStream): EngineClient {
    return this.options.attachEngine(stream)
  }

  takeDirect(connection: Connection, first: number): boolean {
    return this.options.intake.takeDirect(connection, first)
  }

  spoolAccepts(connection: Connection): boolean {
    if (this.options.log.accepting) return true
    this.awaitingSpool.add(connection)
    return false
  }

  flushSoon(connection: Connection): void {
    if (connection.awaitsFlush) return
    connection.awaitsFlush = true
    this.unflushed.push(connection)
    if (this.flushScheduled) return
    this.flushScheduled = true
    setImmediate(() => this.flushAll())
  }

  congested(connection: Connection): void {
    if (this.slow.has(connection)) return
    const takenBytes = connection.output.writtenBytes - connection.transport.unreadBytes
    this.slow.set(connection, { takenBytes, sinceMs: this.options.clock.monotonicMs() })
  }

  count(connection: Connection, reason: RefusalReason, fields: Record<string, unknown> = {}): void {
    const { counters, warnings } = this.options
    counters.refused[reason]++
    const { identity, clientId, transport } = connection
    const username = identity !== null && 'username' in identity ? identity.username : connection.request?.username
    const remedy = REMEDIES[reason]
    warnings.warn(
      reason,
      { clientId, username, remote: transport.remoteAddress, listener: transport.kind, ...fields, remedy },
      reason === 'subscribe-denied' ? 'subscription refused' : 'client refused',
    )
  }

  accepted(connection: Connection): void {
    this.options.accepted(connection)
  }

  departed(connection: Connection): void {
    this.options.departed(connection)
  }

  closedOne(connection: Connection): void {
    this.all.delete(connection)
    this.slow.delete(connection)
    this.awaitingSpool.delete(connection)
    this.reportSettled()
  }

  private flushAll(): void {
    this.flushScheduled = false
    const connections = this.unflushed
    this.unflushed = []
    for (const connection of connections) {
      connection.awaitsFlush = false
      connection.flush()
    }
    this.reportSettled()
  }

  private reportSettled(): void {
    if (this.whenSettled === null) return
    for (const connection of this.all) if (connection.unsettled > 0) return
    this.whenSettled()
  }

  private resumeForSpool(): void {
    const waiting = [...this.awaitingSpool]
    this.awaitingSpool.clear()
    // Those resumed first may fill the spool again; the rest then wait on, and are first the next time.
    for (const connection of waiting) {
      if (this.options.log.accepting) connection.setPaused(PAUSED.spool, false)
      else this.awaitingSpool.add(connection)
    }
  }

  private tick(): void {
    const now = this.options.clock.monotonicMs()
    for (const [connection, mark] of this.slow) {
      const unread = connection.transport.unreadBytes
      const takenBytes = connection.output.writtenBytes - unread
      if (unread === 0) {
        this.slow.delete(connection)
        connection.drained()
      } else if (takenBytes > mark.takenBytes) {
        mark.takenBytes = takenBytes
        mark.sinceMs = now
      } else if (unread >= this.limits.unreadPauseBytes && now - mark.sinceMs >= this.limits.slowSubscriberMs) {
        connection.refuse('not-reading', { unreadBytes: unread })
      }
    }
    for (const connection of this.all) if (connection.paused !== 0) connection.refreshKeepalive()
  }
}
