/**
 * A light MQTT 3.1.1 client over one TCP connection: a session that outlives connections, QoS 2 exactly once both ways,
 * and all that a turn of the event loop sends in one write. Made for thousands of devices in one process.
 */

import { connect, type Socket } from 'node:net'
import { systemClock as clock, type Timer } from '../../shared/clock.ts'
import { type ConnectOptions, connectPacket } from './mqtt-load-frames.ts'
import {
  acknowledgement,
  DISCONNECT,
  PACKET,
  type Packet,
  PacketReader,
  PINGREQ,
  publishFrame,
  type Qos,
  type ReceivedPublish,
  readPublish,
  subscribeFrame,
} from './mqtt-peer-frames.ts'

export interface MqttPeerOptions extends ConnectOptions {
  readonly host?: string
  readonly port: number
  readonly subscriptions?: readonly string[]
  /** Called once for a message of QoS 2, however often it was sent. */
  readonly onMessage?: (topic: string, payload: Buffer) => void
  /** Each time the broker has admitted it and knows its subscriptions. */
  readonly onReady?: () => void
  /** How long after a lost connection the next is tried, milliseconds. */
  readonly reconnectMs?: number
}

interface Outgoing {
  readonly topic: string
  readonly payload: Uint8Array
  readonly qos: Qos
  readonly done: () => void
  sent: boolean
  /** PUBREC is here: only PUBREL goes out again. */
  received: boolean
}

const CONNECT_TIMEOUT_MS = 10_000

export class MqttPeer {
  /** Connections that were lost and made again. */
  reconnects = 0
  private readonly options: MqttPeerOptions
  private readonly reader = new PacketReader()
  private socket: Socket | null = null
  private isReady = false
  private stopped = false
  private retry: Timer | null = null
  private pinging: Timer | null = null
  private waiting: Buffer[] = []
  private lastPacketId = 0
  private readonly outgoing = new Map<number, Outgoing>()
  /** Messages of QoS 2 that the broker has not released yet; they are handed over when it does. */
  private readonly unreleased = new Map<number, ReceivedPublish>()
  /** The broker has confirmed the subscriptions of the session. */
  private isSubscribed = false
  private starting: { resolve: () => void; reject: (error: Error) => void }[] = []

  constructor(options: MqttPeerOptions) {
    this.options = options
  }

  get ready(): boolean {
    return this.isReady
  }

  /** Messages that the broker has not confirmed. */
  get unconfirmed(): number {
    return this.outgoing.size
  }

  /**
   * Resolves when it is admitted and subscribed, rejects when the broker refuses it; otherwise it goes on trying, then and
   * whenever the connection is lost.
   */
  start(): Promise<void> {
    this.stopped = false
    if (this.socket === null) this.connect()
    return this.isReady ? Promise.resolve() : new Promise((resolve, reject) => this.starting.push({ resolve, reject }))
  }

  /** `done` is called when the broker has taken responsibility for it, after reconnections if need be. */
  publish(topic: string, payload: string | Uint8Array, qos: Qos, done: () => void = () => undefined): void {
    const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload
    if (qos === 0) {
      if (this.isReady) this.write(publishFrame(topic, bytes, { qos, packetId: 0, dup: false }))
      done()
      return
    }
    const packetId = this.nextPacketId()
    const message = { topic, payload: bytes, qos, done, sent: false, received: false }
    this.outgoing.set(packetId, message)
    if (this.isReady) this.send(packetId, message)
  }

  /** Says goodbye; the session stays at the broker unless it is clean. */
  async stop(): Promise<void> {
    this.stopped = true
    this.retry?.cancel()
    const { socket } = this
    if (socket === null) return
    const closed = new Promise((resolve) => socket.once('close', resolve))
    this.flush()
    socket.end(DISCONNECT)
    const timer = clock.after(1_000, () => socket.destroy())
    await closed
    timer.cancel()
  }

  /** Cuts the connection as a power failure does; `start` brings it back, with its session. */
  drop(): void {
    this.stopped = true
    this.retry?.cancel()
    this.socket?.resetAndDestroy()
  }

  private connect(): void {
    const { host = '127.0.0.1', port, keepAliveSeconds = 0 } = this.options
    const socket = connect({ host, port, noDelay: true })
    this.socket = socket
    const late = clock.after(CONNECT_TIMEOUT_MS, () => {
      if (!this.isReady) socket.destroy()
    })
    socket.on('connect', () => socket.write(connectPacket(this.options)))
    socket.on('data', (chunk: Buffer) => {
      for (const packet of this.reader.read(chunk)) this.receive(packet)
    })
    socket.on('error', () => undefined)
    socket.on('close', () => {
      late.cancel()
      this.closed()
    })
    if (keepAliveSeconds > 0) {
      this.pinging = clock.every((keepAliveSeconds * 1000) / 2, () => {
        if (this.isReady) this.write(PINGREQ)
      })
    }
  }

  private closed(): void {
    this.socket = null
    this.isReady = false
    this.waiting = []
    this.reader.clear()
    this.pinging?.cancel()
    this.pinging = null
    if (this.stopped) return
    this.reconnects++
    this.retry = clock.after(this.options.reconnectMs ?? 200, () => this.connect())
  }

  private receive(packet: Packet): void {
    const { body } = packet
    const packetId = (): number => body.readUInt16BE(0)
    if (packet.type === PACKET.CONNACK) this.admitted(packet)
    else if (packet.type === PACKET.SUBACK) this.subscribed(packet)
    else if (packet.type === PACKET.PUBLISH) this.message(readPublish(packet))
    else if (packet.type === PACKET.PUBREL) this.released(packetId())
    else if (packet.type === PACKET.PUBREC) this.received(packetId())
    else if (packet.type === PACKET.PUBACK || packet.type === PACKET.PUBCOMP) this.confirmed(packetId())
  }

  private admitted({ body }: Packet): void {
    if (body[1] !== 0) {
      this.refused(`refused with code ${body[1]}`)
      return
    }
    const { subscriptions = [] } = this.options
    if (((body[0] ?? 0) & 1) === 0) {
      // A broker that forgot the session forgot what it has not released as well. [MQTT-3.1.2-6]
      this.unreleased.clear()
      this.isSubscribed = false
    }
    if (subscriptions.length === 0 || this.isSubscribed) this.becomeReady()
    else this.write(subscribeFrame(this.nextPacketId(), subscriptions, 2))
  }

  private subscribed({ body }: Packet): void {
    const refused = body.subarray(2).findIndex((code) => code > 2)
    if (refused >= 0) {
      this.refused(`not allowed to subscribe to ${this.options.subscriptions?.[refused]}`)
      return
    }
    this.isSubscribed = true
    this.becomeReady()
  }

  private refused(how: string): void {
    for (const { reject } of this.starting) reject(new Error(`${this.options.clientId} is ${how}`))
    this.starting = []
    this.socket?.destroy()
  }

  private becomeReady(): void {
    this.isReady = true
    // In the order in which they were first sent. [MQTT-4.6.0-1]
    for (const [packetId, message] of this.outgoing) this.send(packetId, message)
    for (const { resolve } of this.starting) resolve()
    this.starting = []
    this.options.onReady?.()
  }

  private message(message: ReceivedPublish): void {
    const { qos, packetId, topic, payload } = message
    if (qos === 2) {
      // The same packet id before its PUBREL is the same message. [MQTT-4.3.3-2]
      if (!this.unreleased.has(packetId)) this.unreleased.set(packetId, { ...message, payload: Buffer.from(payload) })
      this.write(acknowledgement(PACKET.PUBREC, packetId))
      return
    }
    this.options.onMessage?.(topic, payload)
    if (qos === 1) this.write(acknowledgement(PACKET.PUBACK, packetId))
  }

  private released(packetId: number): void {
    const message = this.unreleased.get(packetId)
    this.unreleased.delete(packetId)
    if (message !== undefined) this.options.onMessage?.(message.topic, message.payload)
    this.write(acknowledgement(PACKET.PUBCOMP, packetId))
  }

  private received(packetId: number): void {
    const message = this.outgoing.get(packetId)
    if (message !== undefined) message.received = true
    this.write(acknowledgement(PACKET.PUBREL, packetId))
  }

  private confirmed(packetId: number): void {
    const message = this.outgoing.get(packetId)
    this.outgoing.delete(packetId)
    message?.done()
  }

  private send(packetId: number, message: Outgoing): void {
    const { topic, payload, qos, sent, received } = message
    message.sent = true
    if (received) this.write(acknowledgement(PACKET.PUBREL, packetId))
    else this.write(publishFrame(topic, payload, { qos, packetId, dup: sent }))
  }

  private nextPacketId(): number {
    do {
      this.lastPacketId = (this.lastPacketId % 65_535) + 1
    } while (this.outgoing.has(this.lastPacketId))
    return this.lastPacketId
  }

  private write(frame: Buffer): void {
    if (this.waiting.length === 0) queueMicrotask(() => this.flush())
    this.waiting.push(frame)
  }

  private flush(): void {
    const { waiting } = this
    if (waiting.length === 0) return
    this.waiting = []
    this.socket?.write(Buffer.concat(waiting))
  }
}
