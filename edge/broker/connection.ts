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
import { ClientOutput } from './client-output.ts'
import type { CommandLine } from './command-line.ts'
import { CLOSE_GRACE_MS, type ConnectionHost, PAUSED, type PauseReason } from './connection-host.ts'
import type { RefusalReason } from './counters.ts'
import type { DeviceRecord } from './device-directory.ts'
import type { Proof } from './device-identity.ts'
import type { CommitListener } from './durable-log.ts'
import type { EngineClient } from './engine.ts'
import { EngineStream, type EngineStreamOwner } from './engine-stream.ts'
import { FrameGuard, isAcknowledgement } from './frame-guard.ts'
import { CONNECT, type ConnectRequest, checkFrame, DISCONNECT, PUBLISH, readConnect } from './mqtt-frames.ts'
import type { PublishRoute } from './publish-intake.ts'
import type { Identity } from './topic-rules.ts'
import type { Transport, TransportEvents } from './transport.ts'

export class Connection implements TransportEvents, EngineStreamOwner, CommitListener {
  readonly host: ConnectionHost
  readonly transport: Transport
  readonly guard: FrameGuard
  readonly output: ClientOutput
  state: 'awaiting-connect' | 'authenticating' | 'open' | 'closing' | 'closed' = 'awaiting-connect'
  /** Set with the login. */
  identity: Identity | null = null
  /** By what it was let in; null where that never ends. */
  proof: Proof | null = null
  request: ConnectRequest | null = null
  /** The device itself, or those a local client speaks for. */
  readonly devices = new Set<DeviceRecord>()
  /** Topic filters that it was granted. */
  readonly filters = new Set<string>()
  /** Topics this connection may publish on without the engine. */
  readonly routes = new Map<string, PublishRoute>()
  lastRoute: PublishRoute | null = null
  engineClient: EngineClient | null = null
  /** Set while it takes commands. */
  commandLine: CommandLine | null = null
  /** Why it is being closed, when it is the broker's doing. */
  refusal: RefusalReason | null = null
  saidDisconnect = false
  /** Packets it may send before it pauses; the host adds to it as time passes. */
  credit: number
  /** Bits of `PAUSED`; nothing is read while one is set, and what was received waits. */
  paused = 0
  /** In the host's list of those to be flushed. */
  awaitsFlush = false
  /** Wall clock of the last chunk received, Unix milliseconds. */
  lastSeenMs: number

  private stream: EngineStream | null = null
  private working = false
  private direct = false
  private inFlight = 0
  private viaEngine = 0
  private heldDisconnect: Buffer | null = null
  private left = false
  private deadline: Timer

  constructor(transport: Transport, host: ConnectionHost) {
    this.transport = transport
    this.output = new ClientOutput(transport)
    this.host = host
    this.guard = new FrameGuard(host.limits.connectFrameBytesMax)
    this.credit = host.limits.publishRateMax
    this.lastSeenMs = host.wallMs()
    this.deadline = host.after(host.limits.connectTimeoutMs, () => this.refuse('connect-timeout'))
  }

  get clientId(): string {
    return this.engineClient?.id ?? this.request?.clientId ?? ''
  }

  // From the transport.

  received(chunk: Buffer): void {
    if (this.isEnding()) return
    this.lastSeenMs = this.host.wallMs()
    this.guard.push(chunk)
    this.work()
  }

  drained(): void {
    this.setPaused(PAUSED.output, false)
  }

  closed(): void {
    // What it sent too fast before it left was received all the same: it is late, not lost.
    if (this.paused === PAUSED.rate && this.refusal === null && !this.isEnding()) {
      this.credit = Number.POSITIVE_INFINITY
      this.setPaused(PAUSED.rate, false)
    }
    if (this.state === 'closed') return
    if (this.transport.fault !== null) this.noteRefusal(this.transport.fault)
    this.state = 'closed'
    this.transport.visit.left()
    this.deadline.cancel()
    this.leave()
    this.host.closedOne(this)
  }

  // From the broker.

  /** The engine sent a CONNACK that accepts. */
  opened(): void {
    if (this.state !== 'authenticating') return
    this.state = 'open'
    this.transport.visit.known()
    this.deadline.cancel()
    this.guard.limitBytes = this.host.limits.frameBytesMax
    this.host.accepted(this)
    this.setPaused(PAUSED.login, false)
  }

  /** Publishes taken and not yet durable. */
  get unsettled(): number {
    return this.inFlight + this.viaEngine
  }

  /** Time spent paused is the broker's, not the client's [MQTT-3.1.2-24]. */
  refreshKeepalive(): void {
    this.engineClient?._keepaliveTimer?.refresh()
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
    if (error !== null) {
      this.refuse('spool-failed', { error: error.message })
      return
    }
    if (token !== 0) this.output.ack(token)
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
    const unreadBytes = this.output.flush()
    if (unreadBytes > 0) this.host.congested(this, unreadBytes)
    if (this.heldDisconnect !== null && this.unsettled === 0) {
      const frame = this.heldDisconnect
      this.heldDisconnect = null
      this.stream?.give(frame, 0, frame.length)
    }
  }

  // From the engine, and for commands.

  engineReads(): void {
    this.setPaused(PAUSED.engine, false)
  }

  send(bytes: Uint8Array): void {
    if (this.isEnding()) return
    this.output.add(bytes)
    this.host.flushSoon(this)
  }

  engineCloses(): void {
    if (this.isEnding()) return
    this.flush()
    // Writing may have ended in closing.
    if (this.isEnding()) return
    this.state = 'closing'
    this.leave()
    this.deadline.cancel()
    this.deadline = this.host.after(CLOSE_GRACE_MS, () => this.transport.destroy())
    this.transport.end()
  }

  private isEnding(): boolean {
    return this.state === 'closing' || this.state === 'closed'
  }

  private work(): void {
    if (this.working) return
    this.working = true
    while (this.paused === 0 && !this.isEnding() && this.guard.next()) {
      const type = this.state === 'awaiting-connect' ? this.takeConnect() : this.take()
      if (type === PUBLISH && !this.host.spoolAccepts(this)) this.setPaused(PAUSED.spool, true)
      if (!isAcknowledgement(type) && --this.credit <= 0) this.setPaused(PAUSED.rate, true)
    }
    this.working = false
    const { violation, declaredBytes, limitBytes } = this.guard
    if (violation !== null && !this.isEnding()) this.refuse(violation, { declaredBytes, limitBytes })
    else if (this.direct) {
      // The engine does not see these packets, so its timer has to be told once per chunk.
      this.direct = false
      this.refreshKeepalive()
    }
  }

  /** Takes one frame of a client that is logged in; returns its packet type. */
  private take(): number {
    const { bytes, start, body, end } = this.guard
    const first = bytes[start] as number
    const type = first >> 4
    // Neither retained nor QoS 2, and nothing before it is still with the engine: order stays [MQTT-4.6.0-2].
    const simple = type === PUBLISH && (first & 0x05) === 0
    if (simple && this.viaEngine === 0 && this.host.takeDirect(this, first)) return type
    if (this.commandLine?.take(bytes, start, body, end) === true) {
      this.direct = true
      return type
    }
    const fault = checkFrame(bytes, start, body, end, this.host.limits)
    if (fault !== null) {
      this.refuse(fault, { packetType: type })
      return type
    }
    if (type === PUBLISH) this.viaEngine++
    if (type === DISCONNECT) {
      this.saidDisconnect = true
      // [MQTT-3.14.4-1]: nothing follows it.
      this.setPaused(PAUSED.leaving, true)
      if (this.unsettled > 0) {
        // What was published before is still acknowledged, and seen by observers.
        this.heldDisconnect = bytes.subarray(start, end)
        return type
      }
    }
    if (this.stream?.give(bytes, start, end) === false) this.setPaused(PAUSED.engine, true)
    return type
  }

  private takeConnect(): number {
    const { bytes, start, body, end } = this.guard
    const request = readConnect(bytes, body, end)
    if (typeof request === 'string') {
      this.refuse(request)
      return CONNECT
    }
    this.request = request
    this.state = 'authenticating'
    this.setPaused(PAUSED.login, true)
    this.stream = new EngineStream(this, this.host.limits.engineBytesMax)
    this.engineClient = this.host.attachEngine(this.stream)
    this.stream.give(bytes, start, end)
    return CONNECT
  }

  setPaused(reason: PauseReason, on: boolean): void {
    const before = this.paused
    this.paused = on ? before | reason : before & ~reason
    if (before === this.paused || this.isEnding()) return
    if (before === 0) this.transport.pause()
    else if (this.paused === 0) {
      this.work()
      if (this.paused === 0 && !this.isEnding()) this.transport.resume()
    }
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
