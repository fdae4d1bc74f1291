/** Whether a user is there, of what their sockets say and of what cores know; and what of it is not stored yet. Pure. */

export const PRESENCE_STATES = ['online', 'away', 'offline'] as const
export type PresenceState = (typeof PRESENCE_STATES)[number]

/** Of a user at one core. */
export interface PresenceOfUser {
  readonly userId: string
  readonly state: PresenceState
}

interface SocketState {
  /** What it says of itself. */
  said: 'online' | 'away'
  /** Monotonic milliseconds. */
  activeAtMs: number
}

interface LocalUser {
  readonly sockets: Map<object, SocketState>
  /** What the database has of this core. */
  stored: PresenceState
}

/** The best of them counts: who is active anywhere is online. */
export function bestOf(states: Iterable<string>): PresenceState {
  let best: PresenceState = 'offline'
  for (const state of states) {
    if (state === 'online') return 'online'
    if (state === 'away') best = 'away'
  }
  return best
}

/** The sockets of one core. */
export class LocalPresence {
  private readonly awayAfterMs: number
  private readonly users = new Map<string, LocalUser>()
  /** Those whose state may not be what is stored. */
  private readonly unsettled = new Set<string>()
  private openCount = 0

  /** @param awayAfterMs a socket that has sent nothing for so long is idle. */
  constructor(awayAfterMs: number) {
    this.awayAfterMs = awayAfterMs
  }

  /** Sockets that are open. */
  get sockets(): number {
    return this.openCount
  }

  /** Those with a socket, and those of whom that is not stored yet. */
  get size(): number {
    return this.users.size
  }

  get waiting(): number {
    return this.unsettled.size
  }

  has(userId: string): boolean {
    return (this.users.get(userId)?.sockets.size ?? 0) > 0
  }

  open(userId: string, socket: object, nowMs: number): void {
    const user = this.users.get(userId) ?? { sockets: new Map<object, SocketState>(), stored: 'offline' }
    this.users.set(userId, user)
    if (user.sockets.has(socket)) return
    user.sockets.set(socket, { said: 'online', activeAtMs: nowMs })
    this.openCount++
    this.unsettled.add(userId)
  }

  close(userId: string, socket: object): void {
    if (this.users.get(userId)?.sockets.delete(socket) !== true) return
    this.openCount--
    this.unsettled.add(userId)
  }

  say(userId: string, state: 'online' | 'away', socket: object, nowMs: number): void {
    const found = this.users.get(userId)?.sockets.get(socket)
    if (found === undefined) return
    found.said = state
    found.activeAtMs = nowMs
    this.unsettled.add(userId)
  }

  /** True when the user may be online again by it. */
  touch(userId: string, socket: object, nowMs: number): boolean {
    const user = this.users.get(userId)
    const found = user?.sockets.get(socket)
    if (user === undefined || found === undefined) return false
    found.activeAtMs = nowMs
    if (user.stored === 'online' || found.said === 'away') return false
    this.unsettled.add(userId)
    return true
  }

  /** Finds those who are idle by now. */
  sweep(nowMs: number): void {
    for (const [userId, user] of this.users) {
      if (user.stored !== this.stateOf(user, nowMs)) this.unsettled.add(userId)
    }
  }

  /** What is to be stored, of at most so many; what is back to what is stored is forgotten. */
  changes(nowMs: number, usersMax: number): PresenceOfUser[] {
    const changes: PresenceOfUser[] = []
    for (const userId of this.unsettled) {
      if (changes.length === usersMax) break
      const user = this.users.get(userId)
      const state = user === undefined ? 'offline' : this.stateOf(user, nowMs)
      if (user !== undefined && state !== user.stored) changes.push({ userId, state })
      else this.settle(userId)
    }
    return changes
  }

  /** These are stored; meanwhile some may have changed again. */
  stored(changes: readonly PresenceOfUser[], nowMs: number): void {
    for (const { userId, state } of changes) {
      const user = this.users.get(userId)
      if (user === undefined) continue
      user.stored = state
      if (this.stateOf(user, nowMs) === state) this.settle(userId)
    }
  }

  /** Nothing of it is stored any more. */
  lost(): void {
    for (const [userId, user] of this.users) {
      user.stored = 'offline'
      this.unsettled.add(userId)
    }
  }

  private settle(userId: string): void {
    this.unsettled.delete(userId)
    const user = this.users.get(userId)
    if (user?.sockets.size === 0 && user.stored === 'offline') this.users.delete(userId)
  }

  private stateOf({ sockets }: LocalUser, nowMs: number): PresenceState {
    const states = sockets.values().map(({ said, activeAtMs }) => {
      return said === 'away' || nowMs - activeAtMs >= this.awayAfterMs ? 'away' : 'online'
    })
    return bestOf(states)
  }
}
