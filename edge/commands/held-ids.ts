/**
 * Packet identifiers that the other side of a session has open, or may have: of commands under way, and of those that ended
 * in the middle of their handshake. A new command under one of them would be taken for the old one sent again, and never run.
 */

import type { CommandRoute } from '../broker/command-outlet.ts'
import type { OpenEntry } from './device-line.ts'
import type { Handshake } from './life-state.ts'
import { HELD_IDS_MAX, HELD_SESSIONS_MAX } from './limits.ts'

type HeldId = Pick<Handshake, 'session' | 'packetId'>

export class HeldIds {
  /** Of commands under way, which bounds their number. */
  private readonly underway = new Map<string, Map<number, OpenEntry>>()
  /** Of commands that are over; oldest first. */
  private readonly loose = new Map<string, Set<number>>()
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
    if (durable) return
    // The session is over, and with it what it had open [MQTT-3.1.2-6].
    this.underway.delete(session)
    this.loose.delete(session)
  }

  hold({ session, packetId }: HeldId, holder: OpenEntry): void {
    this.free({ session, packetId })
    const ids = this.underway.get(session) ?? new Map<number, OpenEntry>()
    this.underway.set(session, ids)
    ids.set(packetId, holder)
  }

  /** The command is over; its identifier stays held, unless its session is over, too. */
  end(id: HeldId): void {
    if (this.underway.get(id.session)?.has(id.packetId) === true) this.keep(id)
  }

  /** Holds an identifier of a command that is over. */
  keep({ session, packetId }: HeldId): void {
    this.free({ session, packetId })
    const ids = this.loose.get(session) ?? new Set<number>()
    this.loose.set(session, ids)
    ids.add(packetId)
    if (ids.size > HELD_IDS_MAX) ids.delete(oldestOf(ids))
    if (this.loose.size > HELD_SESSIONS_MAX) this.loose.delete(oldestOf(this.loose.keys()))
  }

  free({ session, packetId }: HeldId): void {
    remove(this.underway, session, packetId)
    remove(this.loose, session, packetId)
  }

  /** The command that has the identifier; null when that one is over, undefined when none has it. */
  holderOf(session: string, packetId: number): OpenEntry | null | undefined {
    const holder = this.underway.get(session)?.get(packetId)
    return holder ?? (this.loose.get(session)?.has(packetId) === true ? null : undefined)
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
    this.underway.clear()
    this.loose.clear()
  }
}

function remove(
  held: Map<string, { delete(packetId: number): boolean; readonly size: number }>,
  session: string,
  packetId: number,
): void {
  const ids = held.get(session)
  ids?.delete(packetId)
  if (ids?.size === 0) held.delete(session)
}

function oldestOf<T>(keys: Iterable<T>): T {
  const [oldest] = keys
  return oldest as T
}
