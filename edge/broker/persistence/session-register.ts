/**
 * Which durable sessions exist, whose they are, and for how long each has been away. Time away is counted while the gateway
 * runs, on the monotonic clock: a gateway that boots in 1970 must not expire every session when it learns the time.
 */

import type { SessionJournal } from './session-journal.ts'

interface Session {
  readonly owner: string
  awayMs: number
  connected: boolean
}

export interface SessionRegisterOptions {
  readonly journal: SessionJournal
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

  restore({ clientId, owner, awayMs }: { clientId: string; owner: string; awayMs: number }): void {
    this.sessions.set(clientId, { owner, awayMs, connected: false })
  }

  /** Whose session `clientId` is; null when there is none. */
  ownerOf(clientId: string): string | null {
    return this.sessions.get(clientId)?.owner ?? null
  }

  /** A client of `owner` connected. True when it finds its session again [MQTT-3.2.2-2]. */
  open(clientId: string, owner: string, clean: boolean): boolean {
    const found = this.sessions.has(clientId)
    if (clean) {
      // [MQTT-3.1.2-6]: whatever the client had is discarded.
      if (found) this.forget(clientId)
      return false
    }
    if (!found) {
      this.makeRoom()
      this.options.journal.append({ kind: 'session', clientId, owner, awayMs: 0 })
    }
    this.sessions.delete(clientId)
    this.sessions.set(clientId, { owner, awayMs: 0, connected: true })
    return found
  }

  /** The client left; nothing happens for a clean session. */
  close(clientId: string): void {
    const session = this.sessions.get(clientId)
    if (session === undefined) return
    this.sessions.delete(clientId)
    this.sessions.set(clientId, { owner: session.owner, awayMs: 0, connected: false })
    this.options.journal.append({ kind: 'session', clientId, owner: session.owner, awayMs: 0 })
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
        const { owner, awayMs } = session
        this.options.journal.append({ kind: 'session', clientId, owner, awayMs: Math.round(awayMs) })
      }
    }
    return expired
  }

  private makeRoom(): void {
    if (this.sessions.size < this.options.sessionsMax) return
    for (const [clientId, session] of this.sessions) {
      if (session.connected) continue
      this.forget(clientId)
      this.options.evicted()
      return
    }
  }

  private forget(clientId: string): void {
    this.sessions.delete(clientId)
    this.options.journal.append({ kind: 'forget', clientId })
    this.options.forget(clientId)
  }
}
