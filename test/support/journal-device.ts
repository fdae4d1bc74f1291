/**
 * A device that numbers its readings and remembers which ones were acknowledged. It speaks MQTT on a bare socket, so
 * that what it counts is the broker's word and no library's, and it sends what was not acknowledged again, in order,
 * whenever it comes back.
 */

import { connect, type Socket } from 'node:net'
import { deviceTopic } from '../../shared/mqtt-topics.ts'
import { connectPacket, publishPacket } from './mqtt-load-frames.ts'

const CONNACK = 2
const PUBACK = 4
const RECONNECT_MS = 50

export interface JournalDeviceOptions {
  readonly port: number
  readonly siteId: number
  readonly serialNumber: string
  readonly username?: string
  readonly password?: string
  /** Readings on the way, unacknowledged. Default 20. */
  readonly window?: number
  /** Pause between readings, milliseconds; 0 sends as fast as the window allows. Default 0. */
  readonly intervalMs?: number
}

export class JournalDevice {
  readonly serialNumber: string
  /** Readings whose PUBACK arrived: all numbers below this. */
  acknowledged = 0
  /** Numbers below this were handed to a socket at least once. */
  sent = 0
  private readonly options: JournalDeviceOptions
  private socket: Socket | null = null
  private loggedIn = false
  private received: Buffer = Buffer.alloc(0)
  private producing = true
  private closed = false
  private timer: ReturnType<typeof setTimeout> | null = null

  constructor(options: JournalDeviceOptions) {
    this.options = options
    this.serialNumber = options.serialNumber
  }

  start(): this {
    this.dial()
    return this
  }

  /** No further readings; those on the way are still sent until acknowledged. */
  finish(): void {
    this.producing = false
  }

  get settled(): boolean {
    return !this.producing && this.acknowledged === this.sent
  }

  close(): void {
    this.closed = true
    if (this.timer !== null) clearTimeout(this.timer)
    this.socket?.destroy()
  }

  private dial(): void {
    if (this.closed) return
    const { port, username, password } = this.options
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    this.socket = socket
    this.loggedIn = false
    this.received = Buffer.alloc(0)
    const credentials = username === undefined || password === undefined ? {} : { username, password }
    socket.on('connect', () => socket.write(connectPacket({ clientId: this.serialNumber, ...credentials })))
    socket.on('data', (chunk: Buffer) => this.take(chunk))
    socket.on('error', () => {})
    socket.on('close', () => {
      if (this.socket !== socket || this.closed) return
      this.loggedIn = false
      this.later(RECONNECT_MS, () => this.dial())
    })
  }

  private take(chunk: Buffer): void {
    this.received = Buffer.concat([this.received, chunk])
    // CONNACK and PUBACK are four bytes each; nothing else is sent to this device.
    while (this.received.length >= 4) {
      const type = (this.received[0] as number) >> 4
      const packetId = this.received.readUInt16BE(2)
      this.received = this.received.subarray(4)
      if (type === CONNACK) this.resume()
      else if (type === PUBACK) this.acknowledge(packetId)
      else throw new Error(`unexpected packet type ${type} for ${this.serialNumber}`)
    }
    if (this.loggedIn) this.fillWindow()
  }

  private resume(): void {
    this.loggedIn = true
    for (let n = this.acknowledged; n < this.sent; n++) this.write(n, true)
  }

  private acknowledge(packetId: number): void {
    if (packetId !== packetIdOf(this.acknowledged)) {
      throw new Error(
        `${this.serialNumber}: PUBACK ${packetId} out of order, expected ${packetIdOf(this.acknowledged)}`,
      )
    }
    this.acknowledged++
  }

  private fillWindow(): void {
    const { window = 20, intervalMs = 0 } = this.options
    if (intervalMs > 0) {
      this.later(intervalMs, () => {
        if (this.producing && this.sent - this.acknowledged < window) this.write(this.sent++, false)
        this.fillWindow()
      })
      return
    }
    while (this.producing && this.sent - this.acknowledged < window) this.write(this.sent++, false)
  }

  /** One thing at a time: to dial again, or to send the next reading. */
  private later(delayMs: number, fn: () => void): void {
    if (this.timer !== null) clearTimeout(this.timer)
    this.timer = this.closed ? null : setTimeout(fn, delayMs)
  }

  private write(n: number, dup: boolean): void {
    const { siteId, serialNumber } = this.options
    const payload = Buffer.from(JSON.stringify({ n, powerKw: 45.2, voltage: 480.5, current: 94.3 }))
    const { frame, identifierAt } = publishPacket(deviceTopic(siteId, serialNumber, 'telemetry'), payload)
    frame.writeUInt16BE(packetIdOf(n), identifierAt)
    if (dup) frame[0] = (frame[0] as number) | 0x08
    this.socket?.write(frame)
  }
}

/** Packet identifiers run from 1 to 65535. */
function packetIdOf(n: number): number {
  return (n % 65_535) + 1
}
