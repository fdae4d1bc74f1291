/** What is counted of each address that connects: how many connections it has, and how fast it makes new ones. Pure. */

import { isLoopback } from '../../shared/loopback.ts'
import { networkOf, plainAddress } from '../../shared/network.ts'

/** New connections that an address may make at once, in seconds of its rate. */
const BURST_SECONDS = 10

export interface AddressLimits {
  readonly connectionsPerAddressMax: number
  readonly connectRateMax: number
  /** Beyond it the one idle for longest is forgotten. */
  readonly addressesMax: number
}

interface AddressState {
  connections: number
  /** Of those, the ones that logged in. */
  known: number
  /** Connections it may make now. */
  credit: number
  creditAtMs: number
}

/**
 * What an address counts as: a loopback address is null, since tools and proxies of this machine share it; an IPv6 address is
 * its network of 64 bits, which one host may use all of.
 */
export function addressKey(address: string | undefined): string | null {
  if (address === undefined || address === '') return 'unknown'
  return isLoopback(plainAddress(address)) ? null : networkOf(address)
}

export class Addresses {
  private readonly limits: AddressLimits
  /** Those that connected last stand last. */
  private readonly states = new Map<string, AddressState>()

  constructor(limits: AddressLimits) {
    this.limits = limits
  }

  get size(): number {
    return this.states.size
  }

  /** Null lets the connection in, and counts it until `left`. */
  arrive(key: string, nowMs: number): 'address-connections' | 'connect-rate' | null {
    const { connectionsPerAddressMax, connectRateMax } = this.limits
    const full = connectRateMax * BURST_SECONDS
    const found = this.states.get(key)
    const state = found ?? { connections: 0, known: 0, credit: full, creditAtMs: nowMs }
    state.credit = Math.min(full, state.credit + ((nowMs - state.creditAtMs) * connectRateMax) / 1000)
    state.creditAtMs = nowMs
    this.states.delete(key)
    if (found === undefined) this.makeRoom()
    this.states.set(key, state)
    if (state.connections >= connectionsPerAddressMax) return 'address-connections'
    if (state.credit < 1) return 'connect-rate'
    state.credit--
    state.connections++
    return null
  }

  /** A connection of it logged in. */
  loggedIn(key: string): void {
    const state = this.states.get(key)
    if (state !== undefined) state.known++
  }

  /** Whether someone is logged in from there. */
  isHome(key: string): boolean {
    return (this.states.get(key)?.known ?? 0) > 0
  }

  left(key: string, wasLoggedIn: boolean): void {
    const state = this.states.get(key)
    if (state === undefined || state.connections === 0) return
    state.connections--
    if (wasLoggedIn && state.known > 0) state.known--
  }

  private makeRoom(): void {
    if (this.states.size < this.limits.addressesMax) return
    let oldest: string | null = null
    for (const [key, { connections }] of this.states) {
      oldest ??= key
      if (connections > 0) continue
      oldest = key
      break
    }
    if (oldest !== null) this.states.delete(oldest)
  }
}
