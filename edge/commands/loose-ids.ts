/**
 * Packet identifiers that the durable session of a client may still hold from handshakes that were never finished. A new
 * command under one of them would be taken for the old one sent again, and never run.
 */

import type { CommandRoute } from '../broker/command-outlet.ts'
import type { Handshake } from './life-state.ts'
import { LOOSE_IDS_MAX } from './limits.ts'

export class LooseIds {
  private readonly byClient = new Map<string, Set<number>>()

  add({ clientId, packetId }: Pick<Handshake, 'clientId' | 'packetId'>): void {
    const ids = this.byClient.get(clientId) ?? new Set()
    this.byClient.set(clientId, ids)
    ids.delete(packetId)
    ids.add(packetId)
    if (ids.size <= LOOSE_IDS_MAX) return
    for (const oldest of ids) {
      ids.delete(oldest)
      break
    }
  }

  /** A client begins without its session [MQTT-3.1.2-6], so it holds nothing any more. */
  forget(clientId: string): void {
    this.byClient.delete(clientId)
  }

  /** An identifier of the route that is not loose. */
  newPacketId(route: CommandRoute): number {
    if (route.qos === 0) return 0
    const ids = this.byClient.get(route.clientId)
    let id = route.newPacketId()
    for (let tries = 0; ids?.has(id) === true && tries < LOOSE_IDS_MAX; tries++) id = route.newPacketId()
    return id
  }

  clear(): void {
    this.byClient.clear()
  }
}
