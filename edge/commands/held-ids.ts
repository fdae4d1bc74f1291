/**
 * Packet identifiers that the other side of a session has open, or may have: of commands under way, and of those that ended
 * in the middle of their handshake. A new command under one of them would be taken for the old one sent again, and never run.
 */

import type { CommandRoute } from '../broker/command-outlet.ts'
import type { Handshake } from './life-state.ts'
import { HELD_IDS_MAX, HELD_SESSIONS_MAX } from './limits.ts'

export class HeldIds {
  /** Sets, oldest first. */
  private readonly bySession = new Map<string, Set<number>>()

  hold({ session, packetId }: Pick<Handshake, 'session' | 'packetId'>): void {
    const ids = this.bySession.get(session) ?? new Set()
    this.bySession.set(session, ids)
    ids.delete(packetId)
    ids.add(packetId)
    if (ids.size > HELD_IDS_MAX) ids.delete(oldestOf(ids))
    if (this.bySession.size > HELD_SESSIONS_MAX) this.bySession.delete(oldestOf(this.bySession.keys()))
  }

  free({ session, packetId }: Pick<Handshake, 'session' | 'packetId'>): void {
    const ids = this.bySession.get(session)
    ids?.delete(packetId)
    if (ids?.size === 0) this.bySession.delete(session)
  }

  /** The session is over, and with it what it had open [MQTT-3.1.2-6]. */
  forget(session: string): void {
    this.bySession.delete(session)
  }

  isHeld(session: string, packetId: number): boolean {
    return this.bySession.get(session)?.has(packetId) === true
  }

  /** An identifier of the route that is not held; null while there is none. */
  newPacketId(route: CommandRoute): number | null {
    if (route.qos === 0) return 0
    for (let tries = 0; tries <= HELD_IDS_MAX; tries++) {
      const id = route.newPacketId()
      if (id === 0) return null
      if (!this.isHeld(route.session, id)) return id
    }
    return null
  }

  clear(): void {
    this.bySession.clear()
  }
}

function oldestOf<T>(set: Iterable<T>): T {
  const [oldest] = set
  return oldest as T
}
