/**
 * Which durable sessions exist, whose they are, and for how long each has been away. Time away is counted while the gateway
 * runs, on the monotonic clock: a gateway that boots in 1970 must not expire every session when it learns the time.
 */

import { type Random, randomHex } from '../../../shared/random.ts'
import type { SessionJournal } from './session-journal.ts'
import type { SessionImage } from './session-tables.ts'

const NAME_BYTES = 8

interface Session {
  /** No other session ever had this name. */
  readonly name: string
  readonly owner: string
  awayMs: number
  connected: boolean
}

export interface SessionRegisterOptions {
  readonly journal: SessionJournal
  readonly random: Random
  readonly sessionsMax: number
  /** Removes what the session holds from memory. */
  readonly forget: (clientId: string) => void
  readonly evicted: () => void
}

export class SessionRegister {
  private readonly options: SessionRegisterOptions
  /** Those that left last stand last. */
  private readonly sessions = new Map<string, Session>()

  constructor(options: SessionRegisterOptions) {
    this.options = options
  }

  get size(): number {
    return this.sessions.size
  }

  restore({ clientId, owner, awayMs, name }: SessionImage['sessions'][number]): void {
    this.sessions.set(clientId, { name, owner, awayMs, connected: false })
  }

  /** Whose session `clientId` is; null when there is none. */
  ownerOf(clientId: string): string | null {
    return this.sessions.get(clientId)?.owner ?? null
  }

  /** The name of the session of `clientId`; null when it has none that outlives its connection. */
  nameOf(clientId: string): string | null {
    return this.sessions.get(clientId)?.name ?? null
  }

  /** A client of `owner` connected. True when it finds its session again [MQTT-3.2.2-2]. */
  open(clientId: string, owner: string, clean: boolean): boolean {
    const found = this.sessions.get(clientId)
    if (clean) {
      // [MQTT-3.1.2-6]: whatever the client had is discarded.
      if (found !== undefined) this.forget(clientId)
      return false
    }
    const name = found?.name ?? randomHex(this.options.random, NAME_BYTES)
    if (found === undefined) {
      this.makeRoom(owner)
      this.options.journal.append({ kind: 'session', clientId, owner, awayMs: 0, name })
    }
    this.sessions.delete(clientId)
    this.sessions.set(clientId, { name, owner, awayMs: 0, connected: true })
    return found !== undefined
  }

  /** The client left; nothing happens for a clean session. */
  close(clientId: string): void {
    const session = this.sessions.get(clientId)
    if (session === undefined) return
    const { name, owner } = session
    this.sessions.delete(clientId)
    this.sessions.set(clientId, { name, owner, awayMs: 0, connected: false })
    this.options.journal.append({ kind: 'session', clientId, owner, awayMs: 0, name })
  }

  /** Adds `elapsedMs` to the time away of each absent session and removes those that reached `expiryMs`; their number. */
  age(elapsedMs: number, expiryMs: number): number {
    let expired = 0
    for (const [clientId, session] of [...this.sessions]) {
      if (session.connected) continue
      session.awayMs += elapsedMs
      if (session.awayMs >= expiryMs) {
        this.forget(clientId)
        expired++
      } else {
        const { name, owner, awayMs } = session
        this.options.journal.append({ kind: 'session', clientId, owner, awayMs: Math.round(awayMs), name })
      }
    }
    return expired
  }

  /** Ends the sessions of an owner who is no more, but for those that are connected; their number. */
  forgetOwner(owner: string): number {
    let ended = 0
    for (const [clientId, session] of [...this.sessions]) {
      if (session.owner !== owner || session.connected) continue
      this.forget(clientId)
      ended++
    }
    return ended
  }

  /** Ends the session that is away for longest: of the same owner if it has one, so that nobody drives out all others. */
  private makeRoom(owner: string): void {
    if (this.sessions.size < this.options.sessionsMax) return
    let longest: string | null = null
    for (const [clientId, session] of this.sessions) {
      if (session.connected) continue
      longest ??= clientId
      if (session.owner !== owner) continue
      longest = clientId
      break
    }
    if (longest === null) return
    this.forget(longest)
    this.options.evicted()
  }

  private forget(clientId: string): void {
    this.sessions.delete(clientId)
    this.options.journal.append({ kind: 'forget', clientId })
    this.options.forget(clientId)
  }
}
