/**
 * One client: its bytes come in through the frame guard; publishes that nobody on site watches go straight to the spool, all
 * other frames to the MQTT engine. What leaves is gathered and written once per group commit or turn of the event loop.
 *
 *     awaiting-connect ─▶ authenticating ─▶ open ─▶ closing ─▶ closed
 *
 * Reading stops while any reason in `paused` holds; frames already received wait in the guard.
 */

import type { Timer } from '../../shared/clock.ts'
import type { BusbarError } from '../../shared/errors.ts'
import type { RefusalReason } from './counters.ts'
import type { DeviceRecord } from './device-directory.ts'
import type { CommitListener } from './durable-log.ts'
import type { EngineClient } from './engine.ts'
import { EngineStream, type EngineStreamOwner } from './engine-stream.ts'
import { FrameGuard } from './frame-guard.ts'
import type { BrokerLimits } from './limits.ts'
import { CLIENT_PACKETS, checkFilters, checkPublish, type ConnectRequest, PACKET, readConnect } from './mqtt-frames.ts'
import { Outbox } from './outbox.ts'
import type { PublishRoute } from './publish-intake.ts'
import type { Identity } from './topic-rules.ts'
import type { Transport, TransportEvents } from './transport.ts'

/** What a connection needs of its broker. */
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
  /** Bytes wait that the client has not read. */
  congested(connection: Connection): void
  count(connection: Connection, reason: RefusalReason, fields?: Record<string, unknown>): void
  /** The client is gone for the protocol; once. */
  departed(connection: Connection): void
  /** Nothing of the connection is left; once. */
  closedOne(connection: Connection): void
}

const PAUSED_LOGIN = 1
const PAUSED_ENGINE = 2
const PAUSED_OUTPUT = 4
const PAUSED_SPOOL = 8
const PAUSED_LEAVING = 16

/** How long a client may take to read the last bytes of a connection that ends, milliseconds. */
const CLOSE_GRACE_MS = 1000

export class Connection implements TransportEvents, EngineStreamOwner, CommitListener {
  readonly transport: Transport
  readonly guard: FrameGuard
  state: 'awaiting-connect' | 'authenticating' | 'open' | 'closing' | 'closed' = 'awaiting-connect'
  /** Set with the login. */
  identity: Identity | null = null
  request: ConnectRequest | null = null
  /** The device itself, or those a local client speaks for. */
  readonly devices = new Set<DeviceRecord>()
  /** Topics this connection may publish on without the engine. */
  readonly routes = new Map<string, PublishRoute>()
  lastRoute: PublishRoute | null = null
  engineClient: EngineClient | null = null
  /** The session was found again: CONNACK has to say so [MQTT-3.2.2-2]. */
  sessionPresent = false
  /** Why it is being closed, when it is the broker's doing. */
  refusal: RefusalReason | null = null
  saidDisconnect = false
  /** In the host's list of those to be flushed. */
  awaitsFlush = false
  /** Wall clock of the last chunk received, Unix milliseconds. */
  lastSeenMs: number
  /** Bytes handed to the transport since the start. */
  writtenBytes = 0

  private readonly host: ConnectionHost
  private stream: EngineStream | null = null
  private paused = 0
  private working = false
  private direct = false
  private inFlight = 0
  private viaEngine = 0
  private heldDisconnect: Buffer | null = null
  private readonly outbox = new Outbox()
  private connackSeen = false
  private left = false
  private deadline: Timer | null

  constructor(transport: Transport, host: ConnectionHost) {
    this.transport = transport
    this.host = host
    this.guard = new FrameGuard(host.limits.connectFrameBytesMax)
    this.lastSeenMs = host.wallMs()
    this.deadline = host.after(host.limits.connectTimeoutMs, () => this.refuse('connect-timeout'))
  }

  get clientId(): string {
    return this.engineClient?.id ?? this.request?.clientId ?? ''
  }

  /** Bytes on their way to the client that have not left this process. */
  get unreadBytes(): number {
    return this.outbox.bytes + this.transport.unreadBytes
  }

  // From the transport.

  received(chunk: Buffer): void {
    if (this.state === 'closing' || this.state === 'closed') return
    this.lastSeenMs = this.host.wallMs()
    this.guard.push(chunk)
    this.work()
  }

  drained(): void {
    this.setPaused(PAUSED_OUTPUT, false)
  }

  closed(): void {
    if (this.state === 'closed') return
    if (this.transport.fault !== null) this.noteRefusal(this.transport.fault)
    this.state = 'closed'
    this.deadline?.cancel()
    this.leave()
    this.host.closedOne(this)
  }

  // From the broker.

  /** The engine sent a CONNACK that accepts. */
  opened(): void {
    if (this.state !== 'authenticating') return
    this.state = 'open'
    this.deadline?.cancel()
    this.deadline = null
    this.guard.limitBytes = this.host.limits.frameBytesMax
    this.setPaused(PAUSED_LOGIN, false)
  }

  /** Stops reading while the spool takes no more. */
  pauseForSpool(paused: boolean): void {
    this.setPaused(PAUSED_SPOOL, paused)
  }

  /** Reads nothing further; what was received is still acknowledged. */
  stopReading(): void {
    this.setPaused(PAUSED_LEAVING, true)
  }

  /** Publishes taken and not yet durable. */
  get unsettled(): number {
    return this.inFlight + this.viaEngine
  }

  /** Time spent paused is the broker's, not the client's [MQTT-3.1.2-24]. */
  refreshKeepalive(): void {
    this.engineClient?._keepaliveTimer?.refresh()
  }

  isPaused(): boolean {
    return this.paused !== 0
  }

  /** Counts `reason` and closes at once. */
  refuse(reason: RefusalReason, fields?: Record<string, unknown>): void {
    this.noteRefusal(reason, fields)
    this.transport.destroy()
    this.closed()
  }

  /** Counts `reason`, unless an earlier one explains the end of this connection. */
  noteRefusal(reason: RefusalReason, fields?: Record<string, unknown>): void {
    if (this.refusal !== null || this.state === 'closed') return
    this.refusal = reason
    this.host.count(this, reason, fields)
  }

  /** A refused subscription is answered, not punished [MQTT-3.9.3]. */
  countSubscribeDenied(filter: string): void {
    if (this.state !== 'closed') this.host.count(this, 'subscribe-denied', { filter })
  }

  // From the intake and the spool.

  /** A publish was taken without the engine and waits for the disk. */
  taken(): void {
    this.inFlight++
    this.direct = true
  }

  /** @param token packet identifier of a QoS 1 publish; 0 when there is nothing to acknowledge. */
  committed(token: number, error: BusbarError | null): void {
    this.inFlight--
    if (this.state === 'closed') return
    if (error !== null) return this.refuse('spool-failed', { error: error.message })
    if (token !== 0) this.outbox.ack(token)
    if (token !== 0 || this.heldDisconnect !== null) this.host.flushSoon(this)
  }

  /** A publish that went to the engine is durable, or known, and the engine was told. */
  engineSettled(): void {
    this.viaEngine--
    if (this.heldDisconnect !== null) this.host.flushSoon(this)
  }

  /** Writes everything gathered in one go, oldest first. */
  flush(): void {
    if (this.state === 'closed') return
    if (!this.outbox.isEmpty) this.write(this.outbox.take())
    if (this.heldDisconnect !== null && this.unsettled === 0) {
      const frame = this.heldDisconnect
      this.heldDisconnect = null
      this.stream?.push(frame)
    }
  }

  // From the engine.

  engineReads(): void {
    this.setPaused(PAUSED_ENGINE, false)
  }

  engineWrites(bytes: Uint8Array): void {
    if (this.state === 'closing' || this.state === 'closed') return
    this.outbox.add(bytes)
    this.host.flushSoon(this)
  }

  engineCloses(): void {
    if (this.state === 'closing' || this.isClosed()) return
    this.flush()
    if (this.isClosed()) return
    this.state = 'closing'
    this.leave()
    this.deadline?.cancel()
    this.deadline = this.host.after(CLOSE_GRACE_MS, () => this.transport.destroy())
    this.transport.end()
  }

  // A method, since the compiler does not see that writing may end in closing.
  private isClosed(): boolean {
    return this.state === 'closed'
  }

  private work(): void {
    if (this.working) return
    this.working = true
    while (this.paused === 0 && this.guard.next()) {
      this.take()
      if (!this.host.spoolAccepts(this)) this.setPaused(PAUSED_SPOOL, true)
    }
    this.working = false
    const { violation } = this.guard
    if (violation !== null) {
      this.refuse(violation, { declaredBytes: this.guard.declaredBytes, limitBytes: this.guard.limitBytes })
    } else if (this.direct) {
      // The engine does not see these packets, so its timer has to be told once per chunk.
      this.direct = false
      this.refreshKeepalive()
    }
  }

  private take(): void {
    const { bytes, start, body, end } = this.guard
    const first = bytes[start] as number
    const type = first >> 4
    if (this.state === 'awaiting-connect') return this.takeConnect()
    if (type === PACKET.publish) {
      // Neither retained nor QoS 2, and nothing before it is still with the engine: order stays [MQTT-4.6.0-2].
      if ((first & 0x05) === 0 && this.viaEngine === 0 && this.host.takeDirect(this, first)) return
      const fault = checkPublish(bytes, first, body, end)
      if (fault !== null) return this.refuse(fault)
      this.viaEngine++
    } else if (type === PACKET.subscribe || type === PACKET.unsubscribe) {
      const fault = checkFilters(bytes, body, end, type === PACKET.subscribe)
      if (fault !== null) return this.refuse(fault)
    } else if (!CLIENT_PACKETS.has(type)) {
      // [MQTT-3.1.0-2], and packets that only a server sends.
      return this.refuse('protocol-error', { packetType: type })
    } else if (type === PACKET.disconnect) {
      this.saidDisconnect = true
      if (this.unsettled > 0) {
        // What was published before is still acknowledged, and seen by observers.
        this.heldDisconnect = bytes.subarray(start, end)
        return this.setPaused(PAUSED_LEAVING, true)
      }
    }
    if (this.stream?.push(bytes.subarray(start, end)) === false) this.setPaused(PAUSED_ENGINE, true)
  }

  private takeConnect(): void {
    const { bytes, start, body, end } = this.guard
    const request = readConnect(bytes, body, end)
    if (typeof request === 'string') return this.refuse(request)
    this.request = request
    this.state = 'authenticating'
    this.setPaused(PAUSED_LOGIN, true)
    this.stream = new EngineStream(this, this.host.limits.engineBytesMax)
    this.engineClient = this.host.attachEngine(this.stream)
    this.stream.push(bytes.subarray(start, end))
  }

  private setPaused(reason: number, on: boolean): void {
    const before = this.paused
    this.paused = on ? before | reason : before & ~reason
    if (before === this.paused || this.state === 'closing' || this.state === 'closed') return
    if (before === 0) {
      this.transport.pause()
    } else if (this.paused === 0) {
      this.work()
      if (this.paused === 0 && !this.isClosed()) this.transport.resume()
    }
  }

  private write(bytes: Uint8Array): void {
    if (!this.connackSeen) {
      this.connackSeen = true
      // The engine reports a session only when it has subscriptions; a copy, since the engine's bytes are shared.
      if (this.sessionPresent && bytes[0] === 0x20 && bytes[3] === 0) {
        bytes = Uint8Array.from(bytes)
        bytes[2] = 1
      }
    }
    this.transport.write(bytes)
    this.writtenBytes += bytes.length
    const unread = this.transport.unreadBytes
    if (unread === 0) return
    if (unread > this.host.limits.unreadCutBytes) return this.refuse('not-reading', { unreadBytes: unread })
    if (unread > this.host.limits.unreadPauseBytes) this.setPaused(PAUSED_OUTPUT, true)
    this.host.congested(this)
  }

  /** Ends the engine's side and says so, once. */
  private leave(): void {
    if (this.left) return
    this.left = true
    // A DISCONNECT that was being held back still means that the will is not wanted [MQTT-3.14.4-3].
    if (this.saidDisconnect && this.engineClient !== null) this.engineClient._disconnected = true
    this.host.departed(this)
    this.stream?.destroy()
  }
}
