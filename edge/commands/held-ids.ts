/**
 * Packet identifiers that the other side of a session has open, or may have: of commands under way, and of those that ended
 * in the middle of their handshake. A new command under one of them would be taken for the old one sent again, and never run.
 */

import type { CommandRoute } from '../broker/command-outlet.ts'
import type { OpenEntry } from './device-line.ts'
import type { Handshake } from './life-state.ts'
import { HELD_IDS_MAX, HELD_SESSIONS_MAX } from './limits.ts'

export class HeldIds {
  /** Oldest first. */
  private readonly bySession = new Map<string, Map<number, OpenEntry | null>>()
  /** Open routes of each session: a local client has one for every device that it speaks for. */
  private readonly routes = new Map<string, number>()

  opened({ session }: CommandRoute): void {
    this.routes.set(session, (this.routes.get(session) ?? 0) + 1)
  }

  closed({ session, durable }: CommandRoute): void {
    const left = (this.routes.get(session) ?? 1) - 1
    if (left > 0) {
      this.routes.set(session, left)
      return
    }
    this.routes.delete(session)
    // The session is over, and with it what it had open [MQTT-3.1.2-6].
    if (!durable) this.bySession.delete(session)
  }

  /** @param holder null when the command is over. */
  hold({ session, packetId }: Pick<Handshake, 'session' | 'packetId'>, holder: OpenEntry | null): void {
    const ids = this.bySession.get(session) ?? new Map()
    this.bySession.set(session, ids)
    ids.delete(packetId)
    ids.set(packetId, holder)
    if (ids.size > HELD_IDS_MAX) ids.delete(oldestOf(ids.keys()))
    if (this.bySession.size > HELD_SESSIONS_MAX) this.bySession.delete(oldestOf(this.bySession.keys()))
  }

  free({ session, packetId }: Pick<Handshake, 'session' | 'packetId'>): void {
    const ids = this.bySession.get(session)
    ids?.delete(packetId)
    if (ids?.size === 0) this.bySession.delete(session)
  }

  /** The command that has the identifier; null when that one is over, undefined when none has it. */
  holderOf(session: string, packetId: number): OpenEntry | null | undefined {
    return this.bySession.get(session)?.get(packetId)
  }

  /** An identifier of the route that is not held; null while there is none. */
  newPacketId(route: CommandRoute): number | null {
    if (route.qos === 0) return 0
    for (let tries = 0; tries <= HELD_IDS_MAX; tries++) {
      const id = route.newPacketId()
      if (id === 0) return null
      if (this.holderOf(route.session, id) === undefined) return id
    }
    return null
  }

  clear(): void {
    this.bySession.clear()
  }
}

function oldestOf<T>(keys: Iterable<T>): T {
  const [oldest] = keys
  return oldest as T
}
