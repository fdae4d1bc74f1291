/**
 * Looks again and again at who is behind the open sockets: a login may end and a role may go while one is open. All of them
 * are asked about at once, each caller once, however many sockets it has.
 */

import type { Clock, Timer } from '../../../shared/clock.ts'
import { messageOf } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/log.ts'
import type { Authentication, Caller } from '../../identity/identity.ts'
import type { LiveClient } from './live-client.ts'

export interface CallerWatchOptions {
  readonly authentication: Pick<Authentication, 'recheck'>
  /** Time between two looks, milliseconds. */
  readonly periodMs: number
  /** A socket whose caller could not be looked at for so long is given up, milliseconds. */
  readonly graceMs: number
  /** Its login has ended. */
  readonly onGone: (client: LiveClient) => void
  /** What it may do has changed, and is in `caller`. */
  readonly onChanged: (client: LiveClient, caller: Caller) => void
  /** Nobody could be asked about it for `graceMs`. */
  readonly onUnknown: (client: LiveClient) => void
  readonly clock: Clock
  readonly log: Logger
}

export class CallerWatch {
  private readonly options: CallerWatchOptions
  /** Open sockets whose caller can change. */
  private readonly watched = new Set<LiveClient>()
  /** Sockets by the name of their caller. */
  private readonly sockets = new Map<string, number>()
  private timer: Timer | null = null
  private looking: Promise<void> | null = null
  private isFailing = false

  constructor(options: CallerWatchOptions) {
    this.options = options
  }

  start(): void {
    this.timer ??= this.options.clock.every(this.options.periodMs, () => this.tick())
  }

  /** Resolves when no look is under way any more. */
  async stop(): Promise<void> {
    this.timer?.cancel()
    this.timer = null
    await this.looking
  }

  /** Open sockets of a caller. */
  socketsOf(caller: Caller): number {
    return this.sockets.get(caller.id) ?? 0
  }

  add(client: LiveClient): void {
    const { id, credentialId } = client.caller
    this.sockets.set(id, this.socketsOf(client.caller) + 1)
    if (credentialId !== null) this.watched.add(client)
  }

  remove(client: LiveClient): void {
    const left = this.socketsOf(client.caller) - 1
    if (left > 0) this.sockets.set(client.caller.id, left)
    else this.sockets.delete(client.caller.id)
    this.watched.delete(client)
  }

  private tick(): void {
    const { clock, graceMs, onUnknown } = this.options
    const nowMs = clock.monotonicMs()
    // Before the look, which may hang.
    for (const client of this.watched) if (nowMs - client.knownAtMs > graceMs) onUnknown(client)
    this.looking ??= this.look().finally(() => {
      this.looking = null
    })
  }

  private async look(): Promise<void> {
    const { authentication, clock, log } = this.options
    const clients = [...this.watched]
    if (clients.length === 0) return
    const askedAtMs = clock.monotonicMs()
    try {
      const callers = new Map(clients.map(({ caller }) => [caller.credentialId as string, caller]))
      const known = await authentication.recheck([...callers.values()])
      if (this.isFailing) log.info('who is behind the open sockets is known again')
      this.isFailing = false
      for (const client of clients) this.judge(client, known, askedAtMs)
    } catch (error) {
      if (!this.isFailing) log.warn({ error: messageOf(error) }, 'who is behind the open sockets cannot be looked up')
      this.isFailing = true
    }
  }

  private judge(client: LiveClient, known: ReadonlyMap<string, Caller>, askedAtMs: number): void {
    // It may have gone meanwhile.
    if (!this.watched.has(client)) return
    const caller = known.get(client.caller.credentialId as string)
    if (caller === undefined) {
      this.options.onGone(client)
      return
    }
    client.knownAtMs = askedAtMs
    if (caller.version !== client.caller.version) this.options.onChanged(client, caller)
  }
}
