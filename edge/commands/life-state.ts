/** The states of a command at the edge, and what may be said of one without knowing how it came there. */

import type { CommandFactState } from '../../shared/command-fact.ts'

export interface Terms {
  /** The cloud's wall clock, Unix milliseconds. */
  readonly expiresAtMs: number
  readonly timeoutMs: number
}

export interface Now {
  /** Since the boot of the operating system. */
  readonly monotonicMs: number
  /** The latest that the cloud's wall clock can be, Unix milliseconds; null while that is not known. */
  readonly cloudMs: number | null
}

/** One QoS handshake with a device. */
export interface Handshake {
  /** Whose packet identifiers they are: of a durable session, or of one connection. */
  readonly session: string
  readonly packetId: number
  readonly qos: 0 | 1 | 2
  /** The session outlives its connection, so the device knows the identifier when it comes back. */
  readonly resumable: boolean
}

export type Outcome = 'ANSWERED' | Exclude<CommandFactState, 'DELIVERED'>

/** The handshake is on the connection that is open now. */
interface Under {
  readonly via: Handshake
  readonly attached: boolean
  /** When its last PUBLISH went out, monotonic; the timeout counts from there until PUBCOMP. */
  readonly sinceMs: number
}

export type CommandLife =
  | { readonly phase: 'waiting' }
  /** Nothing was written to the device yet. */
  | { readonly phase: 'claiming'; readonly via: Handshake }
  /** The PUBLISH was written, or may have been. */
  | ({ readonly phase: 'published' } & Under)
  /** The device is back; its PUBLISH goes out again when its payload is there. */
  | ({ readonly phase: 'repeating' } & Under)
  | ({ readonly phase: 'receiving' } & Under)
  | ({ readonly phase: 'received' } & Under)
  | { readonly phase: 'delivered'; readonly sinceMs: number }
  /** Answered before the handshake was over, as clients do that act on the PUBLISH: the handshake is still finished. `owed`: PUBREL is. */
  | ({ readonly phase: 'answered'; readonly stored: boolean; readonly owed: boolean } & Under)
  /** Decided, and not told yet. `loose` is a handshake that the device may still have open. */
  | { readonly phase: 'ending'; readonly outcome: Outcome; readonly loose: Handshake | null }
  | { readonly phase: 'ended'; readonly outcome: Outcome }

export type Underway = Extract<CommandLife, { phase: 'published' | 'repeating' | 'receiving' | 'received' }>

export const WAITING: CommandLife = { phase: 'waiting' }

/** The handshake that the device has open, or may have; it keeps its packet identifier from others. */
export function handshakeOf(life: CommandLife): Handshake | null {
  if ('via' in life) return life.via
  return life.phase === 'ending' ? life.loose : null
}

/** Nothing more happens between this command and its device. */
export function isOver({ phase }: CommandLife): boolean {
  return phase === 'ending' || phase === 'ended'
}

/** A device's answer ended it, or will. */
export function isAnswered(life: CommandLife): boolean {
  return life.phase === 'answered' || (isOver(life) && (life as { outcome: Outcome }).outcome === 'ANSWERED')
}

/** True when `tick` would change something. */
export function isDue(life: CommandLife, terms: Terms, now: Now): boolean {
  switch (life.phase) {
    case 'waiting':
    case 'claiming':
      return isExpired(terms, now)
    case 'published':
    case 'repeating':
    case 'receiving':
    case 'received':
      // Whoever keeps its session may come back for it until it expires.
      if (!life.attached && life.via.resumable && !isExpired(terms, now)) return false
      return now.monotonicMs >= life.sinceMs + terms.timeoutMs
    case 'delivered':
    case 'answered':
      return now.monotonicMs >= life.sinceMs + terms.timeoutMs
    case 'ending':
    case 'ended':
      return false
  }
}

/** Not judged while the cloud's time is not known. */
export function isExpired({ expiresAtMs }: Terms, { cloudMs }: Now): boolean {
  return cloudMs !== null && cloudMs >= expiresAtMs
}
