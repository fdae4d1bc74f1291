/**
 * Tells the cloud what became of commands: facts that are on disk go to the spool's priority lane, in order, and are told when
 * its commit has them. A spool that refuses is tried again; what is not told stays on disk for the next start.
 */

import type { Clock, Timer } from '../../shared/clock.ts'
import { type CommandFact, encodeCommandFact } from '../../shared/command-fact.ts'
import type { BusbarError } from '../../shared/errors.ts'
import { deviceTopic } from '../../shared/mqtt-topics.ts'
import type { Random } from '../../shared/random.ts'
import { fullJitterMs } from '../../shared/retry.ts'
import type { DurableLog } from '../broker/durable-log.ts'
import { FACTS_IN_FLIGHT_MAX, TELL_BACKOFF } from './limits.ts'

export interface StoredFact extends CommandFact {
  /** Of the command, in the inbox. */
  readonly position: number
  readonly siteId: number
  readonly serialNumber: string
}

export interface FactTellerOptions {
  readonly spool: DurableLog
  /** The spool has taken the fact, and will commit it or say that it cannot. */
  readonly handedOver: (fact: StoredFact) => void
  /** The fact is durable in the spool. */
  readonly told: (fact: StoredFact) => void
  readonly clock: Clock
  readonly random: Random
}

export class FactTeller {
  private readonly options: FactTellerOptions
  /** In the order in which they are to be told. */
  private waiting = new Map<string, StoredFact>()
  private readonly inFlight = new Map<number, StoredFact>()
  private refused: StoredFact[] = []
  private nextToken = 0
  private attempt = 0
  private retry: Timer | null = null
  private stopping = false
  private idle = Promise.withResolvers<void>()

  constructor(options: FactTellerOptions) {
    this.options = options
  }

  /** Facts that are not durable in the spool. */
  get untold(): number {
    return this.waiting.size + this.inFlight.size + this.refused.length
  }

  /** Begins to follow the spool; to be called once. */
  start(): void {
    this.options.spool.onAccepting(() => this.pump())
  }

  tell(fact: StoredFact): void {
    this.waiting.set(keyOf(fact), fact)
    this.pump()
  }

  /** Tells nothing more of the command, as far as the spool does not have it. */
  withdraw(position: number): void {
    this.waiting.delete(`${position} DELIVERED`)
    this.waiting.delete(`${position} TIMED_OUT`)
  }

  /** Resolves when the spool has settled all it was given; what it refuses from now on is left for the next start. */
  async settled(): Promise<void> {
    this.stopping = true
    this.retry?.cancel()
    while (this.inFlight.size > 0) await this.idle.promise
  }

  /** Called by the spool. */
  committed(token: number, error: BusbarError | null): void {
    const fact = this.inFlight.get(token)
    if (fact === undefined) return
    this.inFlight.delete(token)
    if (error === null) {
      this.attempt = 0
      this.options.told(fact)
    } else {
      this.refused.push(fact)
    }
    if (this.inFlight.size === 0) this.drained()
    else this.pump()
  }

  private drained(): void {
    this.idle.resolve()
    this.idle = Promise.withResolvers()
    if (this.refused.length === 0) {
      this.pump()
      return
    }
    if (this.stopping) return
    const { clock, random } = this.options
    this.waiting = new Map([...this.refused.map((fact) => [keyOf(fact), fact] as const), ...this.waiting])
    this.refused = []
    this.retry = clock.after(fullJitterMs(this.attempt++, TELL_BACKOFF, random), () => {
      this.retry = null
      this.pump()
    })
  }

  private pump(): void {
    const { spool, handedOver } = this.options
    // What was refused goes first: a command's facts are in order.
    if (this.retry !== null || this.refused.length > 0) return
    for (const [key, fact] of this.waiting) {
      if (this.inFlight.size >= FACTS_IN_FLIGHT_MAX || !spool.accepting) return
      this.waiting.delete(key)
      const token = this.nextToken++
      this.inFlight.set(token, fact)
      const { siteId, serialNumber } = fact
      const payload = Buffer.from(encodeCommandFact(fact))
      spool.append('priority', deviceTopic(siteId, serialNumber, 'commands'), payload, this, token)
      handedOver(fact)
    }
  }
}

function keyOf({ position, state }: StoredFact): string {
  return `${position} ${state}`
}
