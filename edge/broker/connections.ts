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
import { REMEDIES } from './remedies.ts'
import { LISTENER_KINDS, type ListenerKind, type Transport } from './transport.ts'

const TICK_MS = 250

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

  /**
   * Cuts those whose proof stands for nobody any more, or for someone else. Their wills are not published: nobody speaks for
   * whom he is no longer.
   * @param lost why a connection may not be here any more; null while it may.
   */
  cutWithoutRights(lost: (connection: Connection) => RefusalReason | null, voidWill: (clientId: string) => void): void {
    for (const connection of [...this.all]) {
      const reason = connection.proof === null ? null : lost(connection)
      if (reason === null) continue
      const { engineClient, request } = connection
      if (engineClient !== null && request !== null) {
        if (request.will !== null) voidWill(engineClient.id)
        engineClient.will = null
        connection.request = { ...request, will: null }
      }
      connection.refuse(reason)
    }
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

  congested(connection: Connection, unreadBytes: number): void {
    if (unreadBytes > this.limits.unreadCutBytes) {
      connection.refuse('not-reading', { unreadBytes })
      return
    }
    if (unreadBytes > this.limits.unreadPauseBytes) connection.setPaused(PAUSED.output, true)
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
    for (const connection of this.all) {
      this.refill(connection)
      if (connection.paused !== 0) connection.refreshKeepalive()
    }
  }

  /** What a tick is worth; one second's worth is kept at most. */
  private refill(connection: Connection): void {
    const { publishRateMax } = this.limits
    if (connection.credit === publishRateMax) return
    if ((connection.paused & PAUSED.rate) !== 0) this.options.counters.throttled++
    connection.credit = Math.min(publishRateMax, connection.credit + (publishRateMax * TICK_MS) / 1000)
    if (connection.credit > 0) connection.setPaused(PAUSED.rate, false)
  }
}
