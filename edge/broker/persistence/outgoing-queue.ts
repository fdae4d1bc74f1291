/** QoS 1 and 2 messages on their way to one durable session, oldest first; bounded. */

import type { SessionPacket } from './session-packet.ts'

export interface QueuedMessage {
  /** Order over all sessions, and the key on disk. */
  readonly position: number
  packet: SessionPacket
  /** It was sent before; what follows is a re-delivery, which must say DUP [MQTT-3.3.1-1]. */
  sentBefore: boolean
  /** It goes out with the queue, not when the engine delivers it. */
  withQueue: boolean
}

export class OutgoingQueue {
  private messages: QueuedMessage[] = []

  get length(): number {
    return this.messages.length
  }

  /** The oldest message that came after `position`; null when there is none. */
  after(position: number): QueuedMessage | null {
    let low = 0
    let high = this.messages.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.messages[middle] as QueuedMessage).position > position) high = middle
      else low = middle + 1
    }
    return this.messages[low] ?? null
  }

  push(message: QueuedMessage): void {
    this.messages.push(message)
  }

  /** Takes out the oldest message that was not sent yet; null when all are under way. */
  dropOldestUnsent(): QueuedMessage | null {
    const index = this.messages.findIndex(({ packet }) => packet.messageId === undefined && packet.cmd !== 'pubrel')
    return index < 0 ? null : this.removeAt(index)
  }

  /** The message that `packet` speaks of: by the broker's own count if both have one, else by packet identifier. */
  find(packet: SessionPacket): QueuedMessage | null {
    // New messages stand at the end, and those are what is looked for most.
    for (let i = this.messages.length - 1; i >= 0; i--) {
      const message = this.messages[i] as QueuedMessage
      const kept = message.packet
      if (packet.brokerId !== undefined && kept.brokerId === packet.brokerId) {
        if (kept.brokerCounter === packet.brokerCounter) return message
      }
    }
    if (packet.messageId === undefined) return null
    const same = (kept: SessionPacket) => kept.brokerId !== packet.brokerId && kept.messageId === packet.messageId
    return this.messages.find((message) => same(message.packet)) ?? null
  }

  /**
   * Takes out the message with the packet identifier of `packet`, or, when it has none, the very message, unless that goes
   * out with the queue.
   */
  remove(packet: SessionPacket): QueuedMessage | null {
    const { messageId } = packet
    if (messageId === undefined) {
      const message = this.find(packet)
      return message === null || message.withQueue ? null : this.removeAt(this.messages.indexOf(message))
    }
    const index = this.messages.findIndex((message) => message.packet.messageId === messageId)
    return index < 0 ? null : this.removeAt(index)
  }

  private removeAt(index: number): QueuedMessage {
    return this.messages.splice(index, 1)[0] as QueuedMessage
  }
}
