/** What is on its way to one client, gathered so that it leaves in one write, in order. */

import { encodePubacks } from './mqtt-frames.ts'
import type { Transport } from './transport.ts'

const ACKS_KEPT = 256
const CONNACK = 0x20

export class ClientOutput {
  /** The session was found again: CONNACK has to say so [MQTT-3.2.2-2]. */
  sessionPresent = false
  /** Bytes handed to the transport since the start. */
  writtenBytes = 0
  private readonly transport: Transport
  private gatheredBytes = 0
  private chunks: Uint8Array[] = []
  private ackIds = new Uint16Array(16)
  private ackCount = 0

  constructor(transport: Transport) {
    this.transport = transport
  }

  /** Bytes on their way to the client that have not left this process. */
  get unreadBytes(): number {
    return this.gatheredBytes + this.transport.unreadBytes
  }

  /** Adds a PUBACK for a packet identifier. */
  ack(packetId: number): void {
    if (this.ackCount === this.ackIds.length) {
      const grown = new Uint16Array(this.ackCount * 2)
      grown.set(this.ackIds)
      this.ackIds = grown
    }
    this.ackIds[this.ackCount++] = packetId
    this.gatheredBytes += 4
  }

  /** Adds bytes behind everything added before. */
  add(bytes: Uint8Array): void {
    this.closeAcks()
    this.chunks.push(bytes)
    this.gatheredBytes += bytes.length
  }

  /** Writes everything gathered as one piece; returns the bytes the client has not taken yet. */
  flush(): number {
    if (this.gatheredBytes === 0) return this.transport.unreadBytes
    this.closeAcks()
    const all = this.chunks.length === 1 ? (this.chunks[0] as Uint8Array) : Buffer.concat(this.chunks)
    this.chunks = []
    this.gatheredBytes = 0
    if (this.ackIds.length > ACKS_KEPT) this.ackIds = new Uint16Array(ACKS_KEPT)
    this.transport.write(this.writtenBytes === 0 && this.sessionPresent ? withSessionPresent(all) : all)
    this.writtenBytes += all.length
    return this.transport.unreadBytes
  }

  private closeAcks(): void {
    if (this.ackCount === 0) return
    this.chunks.push(encodePubacks(this.ackIds, this.ackCount))
    this.ackCount = 0
  }
}

/** The engine reports a session only when it has subscriptions. A copy is changed, since the engine's bytes are shared. */
function withSessionPresent(bytes: Uint8Array): Uint8Array {
  if (bytes[0] !== CONNACK || bytes[3] !== 0) return bytes
  const changed = Uint8Array.from(bytes)
  changed[2] = 1
  return changed
}
