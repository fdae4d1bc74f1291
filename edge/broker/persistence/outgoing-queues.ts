/** The queues of all durable sessions, and what of them has to be on disk before the engine goes on. */

import { Readable } from 'node:stream'
import { OutgoingQueue } from './outgoing-queue.ts'
import type { SessionJournal } from './session-journal.ts'
import {
  type ClientRef,
  decodePacket,
  detached,
  encodePacket,
  queuedCopy,
  type SessionPacket,
} from './session-packet.ts'
import type { SessionImage } from './session-tables.ts'

/** A connection reading its queue, once; lives as long as the connection. */
interface QueueReading {
  over: boolean
  /** What it was given, by `keyOf`. */
  readonly handed: Set<string>
}

export interface OutgoingQueuesOptions {
  readonly journal: SessionJournal
  /** Messages that may wait in one session. */
  readonly queueMax: number
  readonly full: () => void
}

export class OutgoingQueues {
  private readonly options: OutgoingQueuesOptions
  private readonly queues = new Map<string, OutgoingQueue>()
  private readonly readings = new WeakMap<ClientRef, QueueReading>()
  private nextPosition = 1

  constructor(options: OutgoingQueuesOptions) {
    this.options = options
  }

  restore(rows: SessionImage['queued']): void {
    for (const row of rows) {
      const packet = decodePacket(row)
      // A message that had its identifier was sent, as far as anyone can tell.
      const sentBefore = packet.messageId !== undefined
      this.queueOf(row.clientId).push({
        position: row.position,
        packet,
        sentBefore,
        withQueue: false,
      })
      this.nextPosition = row.position + 1
    }
  }

  /** Messages in all queues. */
  get count(): number {
    let count = 0
    for (const queue of this.queues.values()) count += queue.length
    return count
  }

  /** Resolves when the message is in every queue, on disk. */
  async enqueue(subscriptions: readonly { clientId: string }[], packet: SessionPacket): Promise<void> {
    if (subscriptions.length === 0) return
    const { journal } = this.options
    const kept = queuedCopy(packet)
    kept.payload = detached(packet.payload)
    const stored = encodePacket(kept)
    for (const { clientId } of subscriptions) {
      const queue = this.queueOf(clientId)
      if (!this.makeRoom(queue)) continue
      const position = this.nextPosition++
      queue.push({
        position,
        packet: { ...kept },
        sentBefore: false,
        withQueue: false,
      })
      journal.append({ kind: 'enqueue', position, clientId, packet: stored })
    }
    await journal.durable()
  }

  /**
   * Notes the identifier under which a message is about to be sent, or that PUBREL takes its place. One that is not in the
   * queue (it was full) goes out all the same, once, and is not tracked.
   */
  async update(clientId: string, packet: SessionPacket): Promise<void> {
    const message = this.queues.get(clientId)?.find(packet)
    if (message == null) return
    const { packet: kept, position } = message
    if (packet.cmd === 'pubrel' || kept.cmd === 'pubrel' || kept.brokerId !== packet.brokerId) {
      message.packet = packet
    } else {
      message.sentBefore = kept.messageId !== undefined
      kept.messageId = packet.messageId
    }
    const { journal } = this.options
    journal.append({ kind: 'requeue', position, packet: encodePacket(message.packet) })
    // QoS 1 may be delivered twice, so it need not wait; each step of QoS 2 must not be forgotten.
    if (message.packet.qos !== 1) await journal.durable()
  }

  /** Removes what was acknowledged and returns it. */
  remove(clientId: string, packet: SessionPacket): SessionPacket | undefined {
    const queue = this.queues.get(clientId)
    const message = queue?.remove(packet)
    if (queue === undefined || message == null) return undefined
    if (queue.length === 0) this.queues.delete(clientId)
    this.options.journal.append({ kind: 'dequeue', position: message.position })
    return message.packet
  }

  /** What waits for `client`, oldest first, with what joins the queue while it is read. */
  stream(client: ClientRef): Readable {
    const reading: QueueReading = { over: false, handed: new Set() }
    this.readings.set(client, reading)
    return Readable.from(this.read(client.id, reading))
  }

  /**
   * Whether the message that `packet` speaks of goes out with the queue of `client`. The engine also delivers it as new when
   * the client returned between the two: sending that as well would break QoS 2, and the order of messages.
   * @param early the queue is still to be read.
   */
  goesWithQueue(client: ClientRef, packet: SessionPacket, early: boolean): boolean {
    const reading = this.readings.get(client)
    // By now it may be acknowledged, and gone from the queue.
    const handed = reading?.handed.has(keyOf(packet)) ?? false
    const message = this.queues.get(client.id)?.find(packet) ?? null
    if (!handed && (message === null || !(early || reading?.over === false))) return false
    if (message !== null) message.withQueue = true
    return true
  }

  /** True when the message that `packet` speaks of went out before. */
  wasSent(clientId: string, packet: SessionPacket): boolean {
    return this.queues.get(clientId)?.find(packet)?.sentBefore ?? false
  }

  /** Empties a queue in memory. */
  forget(clientId: string): void {
    this.queues.delete(clientId)
  }

  /** At the limit the oldest message not yet sent makes room; false when every one is under way. */
  private makeRoom(queue: OutgoingQueue): boolean {
    if (queue.length < this.options.queueMax) return true
    this.options.full()
    const oldest = queue.dropOldestUnsent()
    if (oldest !== null) this.options.journal.append({ kind: 'dequeue', position: oldest.position })
    return oldest !== null
  }

  private *read(clientId: string, reading: QueueReading): Generator<SessionPacket> {
    let position = 0
    for (;;) {
      const message = this.queues.get(clientId)?.after(position)
      if (message == null) break
      position = message.position
      reading.handed.add(keyOf(message.packet))
      yield message.packet
    }
    reading.over = true
  }

  private queueOf(clientId: string): OutgoingQueue {
    let queue = this.queues.get(clientId)
    if (queue === undefined) {
      queue = new OutgoingQueue()
      this.queues.set(clientId, queue)
    }
    return queue
  }
}

/** A message by the engine's own count. */
function keyOf({ brokerId, brokerCounter }: SessionPacket): string {
  return `${brokerId}/${brokerCounter}`
}
