/**
 * Counts who comes before anyone knows who it is, and turns away what is too much. It is asked once for a connection and once
 * for a login, never for a message.
 *
 *     accept ─▶ half-open ─▶ logged in
 *
 * When there are too many half-open connections the oldest is cut, so that any number of them keeps no device out.
 */

import type { Clock } from '../../shared/clock.ts'
import { Addresses, addressKey } from './addresses.ts'
import type { BrokerCounters, RefusalReason } from './counters.ts'
import type { LimitedLog } from './limited-log.ts'
import type { BrokerLimits } from './limits.ts'
import { Lockouts } from './lockouts.ts'
import { REMEDIES } from './remedies.ts'

/** One connection, from accept to its end. */
export interface Visit {
  readonly remoteAddress: string
  /** It logged in. */
  known(): void
  /** It is over. May be called again. */
  left(): void
}

export interface GateOptions {
  readonly limits: BrokerLimits
  readonly clock: Clock
  readonly counters: BrokerCounters
  readonly warnings: LimitedLog
}

/** Between parts of a key; no username and no address has it. */
const SEPARATOR = '\0'

export class Gate {
  private readonly options: GateOptions
  private readonly addresses: Addresses
  private readonly lockedAddresses: Lockouts
  private readonly lockedNames: Lockouts
  /** With how each is cut, oldest first. */
  private readonly halfOpen = new Map<Visit, () => void>()
  private count = 0

  constructor(options: GateOptions) {
    this.options = options
    const { limits } = options
    const { lockoutMs, lockoutMaxMs, addressesMax: keysMax } = limits
    this.addresses = new Addresses(limits)
    this.lockedAddresses = new Lockouts({
      failuresMax: limits.loginFailuresPerAddressMax,
      lockoutMs,
      lockoutMaxMs,
      keysMax,
    })
    this.lockedNames = new Lockouts({ failuresMax: limits.loginFailuresMax, lockoutMs, lockoutMaxMs, keysMax })
  }

  get halfOpenCount(): number {
    return this.halfOpen.size
  }

  /**
   * Null when it is not let in, which is counted; the caller closes it at once.
   * @param cut called when it has to make room for another one, while it is half-open.
   */
  arrive(remoteAddress: string | undefined, cut: () => void): Visit | null {
    const { clock, limits } = this.options
    const key = addressKey(remoteAddress)
    const now = clock.monotonicMs()
    if (key !== null) {
      if (this.lockedAddresses.isLocked(key, now)) return this.refuse('locked-out', remoteAddress)
      const reason = this.addresses.arrive(key, now)
      if (reason !== null) return this.refuse(reason, remoteAddress)
    }
    if (this.count >= limits.connectionsMax && !this.cutOldest()) {
      if (key !== null) this.addresses.left(key, false)
      return this.refuse('too-many-connections', remoteAddress)
    }
    if (this.halfOpen.size >= limits.halfOpenMax) this.cutOldest()
    let over = false
    let loggedIn = false
    const visit: Visit = {
      remoteAddress: remoteAddress ?? 'unknown',
      known: () => {
        if (over || loggedIn) return
        loggedIn = true
        this.halfOpen.delete(visit)
        if (key !== null) this.addresses.loggedIn(key)
      },
      left: () => {
        if (over) return
        over = true
        this.count--
        this.halfOpen.delete(visit)
        if (key !== null) this.addresses.left(key, loggedIn)
      },
    }
    this.count++
    this.halfOpen.set(visit, cut)
    return visit
  }

  /** Whether a login of `who` from `remoteAddress` is not even looked at. */
  isLocked(remoteAddress: string, who: string): boolean {
    const now = this.options.clock.monotonicMs()
    const key = addressKey(remoteAddress)
    return (
      this.lockedNames.isLocked(nameKey(key, who), now) || (key !== null && this.lockedAddresses.isLocked(key, now))
    )
  }

  /**
   * A login failed. It counts for the name at the address, and for the address as long as nobody is logged in from there: a
   * few devices with wrong passwords do not lock out the fleet behind the same address. Secrets cannot be guessed anyway.
   */
  loginFailed(remoteAddress: string, who: string): void {
    const { clock, counters, warnings } = this.options
    const now = clock.monotonicMs()
    const key = addressKey(remoteAddress)
    const nameLocked = this.lockedNames.failed(nameKey(key, who), now)
    const addressLocked = key !== null && !this.addresses.isHome(key) && this.lockedAddresses.failed(key, now)
    if (!nameLocked && !addressLocked) return
    counters.lockouts++
    const what = addressLocked
      ? 'an address is locked out for its failed logins'
      : 'a username is locked out at an address'
    warnings.warn('locked-out', { remote: remoteAddress, username: who }, what)
  }

  loginSucceeded(remoteAddress: string, who: string): void {
    this.lockedNames.succeeded(nameKey(addressKey(remoteAddress), who))
  }

  /** The logins were changed by someone on this machine: who failed before may be right now. */
  forgetFailures(): void {
    this.lockedNames.clear()
    this.lockedAddresses.clear()
  }

  /** Counts what a listener turned away, or gave up on, before it was an MQTT connection. */
  refuse(reason: RefusalReason, remoteAddress: string | undefined, fields: Record<string, unknown> = {}): null {
    const { counters, warnings } = this.options
    counters.refused[reason]++
    warnings.warn(reason, { remote: remoteAddress, ...fields, remedy: REMEDIES[reason] }, 'client refused')
    return null
  }

  private cutOldest(): boolean {
    for (const [visit, cut] of this.halfOpen) {
      visit.left()
      this.refuse('half-open', visit.remoteAddress)
      cut()
      return true
    }
    return false
  }
}

function nameKey(address: string | null, who: string): string {
  // A name may be as long as a CONNECT packet.
  return `${address ?? 'loopback'}${SEPARATOR}${who.slice(0, 128)}`
}
