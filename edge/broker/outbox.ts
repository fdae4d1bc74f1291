/** What is on its way to one client, gathered so that it leaves in one write, in order. */

import { encodePubacks } from './mqtt-frames.ts'

const ACKS_KEPT = 256

export class Outbox {
  /** Bytes gathered. */
  bytes = 0
  private chunks: Uint8Array[] = []
  private ackIds = new Uint16Array(16)
  private ackCount = 0

  get isEmpty(): boolean {
    return this.bytes === 0
  }

  /** Adds a PUBACK for a packet identifier. */
  ack(packetId: number): void {
    if (this.ackCount === this.ackIds.length) {
      const grown = new Uint16Array(this.ackCount * 2)
      grown.set(this.ackIds)
      this.ackIds = grown
    }
    this.ackIds[this.ackCount++] = packetId
    this.bytes += 4
  }

  /** Adds bytes behind everything added before. */
  add(bytes: Uint8Array): void {
    this.closeAcks()
    this.chunks.push(bytes)
    this.bytes += bytes.length
  }

  /** Everything gathered, as one piece; the outbox is empty afterwards. */
  take(): Uint8Array {
    this.closeAcks()
    const all = this.chunks.length === 1 ? (this.chunks[0] as Uint8Array) : Buffer.concat(this.chunks, this.bytes)
    this.chunks = []
    this.bytes = 0
    if (this.ackIds.length > ACKS_KEPT) this.ackIds = new Uint16Array(ACKS_KEPT)
    return all
  }

  private closeAcks(): void {
    if (this.ackCount === 0) return
    this.chunks.push(encodePubacks(this.ackIds, this.ackCount))
    this.ackCount = 0
  }
}
