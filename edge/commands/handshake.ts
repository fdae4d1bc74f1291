/** The part of a command's life in which its QoS handshake with the device is open. */

import {
  type CommandLife,
  type Handshake,
  isExpired,
  type Now,
  type Terms,
  type Underway,
  WAITING,
} from './life-state.ts'
import { end, type LifeEffect, type LifeInput, NOTHING, STORE, type Step, unchanged } from './life-step.ts'

/** From the PUBLISH to PUBCOMP, or PUBACK. */
export function underway(life: Underway, input: LifeInput, terms: Terms, now: Now): Step {
  const { via, attached, phase } = life
  switch (input.kind) {
    case 'opened':
      return attached ? unchanged(life) : reopened(life, input, terms, now)
    case 'closed':
      return {
        life: { ...life, phase: phase === 'repeating' ? 'published' : phase, attached: false },
        effects: NOTHING,
      }
    case 'stored':
      return onDisk(life, input.payload ?? null, terms, now)
    case 'unwritten':
      return phase === 'published' ? { life: WAITING, effects: STORE } : unchanged(life)
    case 'received':
      if (!isOf(via, input) || via.qos !== 2) return unchanged(life)
      // A PUBREC that comes again asks for its PUBREL again [MQTT-4.3.3-1].
      if (phase === 'received') return { life, effects: [{ kind: 'release', packetId: via.packetId }] }
      if (phase === 'receiving') return unchanged(life)
      return { life: { ...life, phase: 'receiving', attached: true }, effects: STORE }
    case 'completed':
      // PUBACK ends QoS 1, PUBCOMP ends QoS 2 and follows PUBREC only.
      if (!isOf(via, input) || phase !== (via.qos === 2 ? 'received' : 'published')) return unchanged(life)
      return {
        life: { phase: 'delivered', sinceMs: now.monotonicMs },
        effects: [{ kind: 'store', fact: { state: 'DELIVERED' } }],
      }
    case 'answered': {
      if (!attached || via.qos !== 2) return end('ANSWERED', looseOf(life))
      return { life: { ...life, phase: 'answered', stored: false, owed: phase === 'receiving' }, effects: STORE }
    }
    default:
      return unchanged(life)
  }
}

/** The device is there again, on another connection than that of the handshake. */
function reopened(life: Underway, route: Extract<LifeInput, { kind: 'opened' }>, terms: Terms, now: Now): Step {
  const { via, phase } = life
  if (route.session !== via.session) {
    // [MQTT-3.1.2-6]: what it knew of the handshake is gone with its session. On disk, since a crash may bring the old session back.
    return via.resumable ? { life: { ...life, via: { ...via, resumable: false } }, effects: STORE } : unchanged(life)
  }
  // After it expired no return gives it more time: a device that never finishes would otherwise keep it for ever.
  const sinceMs = isExpired(terms, now) ? life.sinceMs : now.monotonicMs
  const attached = { ...life, attached: true, sinceMs }
  if (phase === 'received') return { life: attached, effects: [{ kind: 'release', packetId: via.packetId }] }
  if (phase === 'receiving') return { life: attached, effects: NOTHING }
  // With a lower QoS nobody would notice that it comes twice.
  const mayRepeat = via.resumable && route.qos === 2 && now.cloudMs !== null && !isExpired(terms, now)
  if (!mayRepeat) return unchanged(life)
  return { life: { ...attached, phase: 'repeating' }, effects: STORE }
}

function onDisk(life: Underway, payload: Uint8Array | null, terms: Terms, now: Now): Step {
  const { via, attached, phase } = life
  if (phase === 'receiving') {
    return {
      life: { ...life, phase: 'received' },
      effects: attached ? [{ kind: 'release', packetId: via.packetId }] : NOTHING,
    }
  }
  if (phase !== 'repeating') return unchanged(life)
  if (payload === null || isExpired(terms, now)) return { life: { ...life, phase: 'published' }, effects: NOTHING }
  return {
    life: { ...life, phase: 'published', sinceMs: now.monotonicMs },
    effects: [{ kind: 'publish', packetId: via.packetId, payload, dup: true }],
  }
}

/** The device answered already: its handshake is finished, as far as the connection lasts. */
export function finishing(life: Extract<CommandLife, { phase: 'answered' }>, input: LifeInput): Step {
  const { via, stored, owed } = life
  const release: readonly LifeEffect[] = [{ kind: 'release', packetId: via.packetId }]
  switch (input.kind) {
    case 'stored':
      return { life: { ...life, stored: true, owed: false }, effects: owed ? release : NOTHING }
    case 'received':
      if (!isOf(via, input)) return unchanged(life)
      // Before the answer is on disk a crash would repeat the PUBLISH under an identifier that PUBREL made free.
      return stored ? { life, effects: release } : { life: { ...life, owed: true }, effects: NOTHING }
    case 'completed':
      return isOf(via, input) ? end('ANSWERED') : unchanged(life)
    case 'closed':
      return end('ANSWERED', looseOf(life))
    default:
      return unchanged(life)
  }
}

/** The acknowledgement is of this very handshake. */
function isOf(via: Handshake, input: { readonly session: string; readonly packetId: number }): boolean {
  return via.session === input.session && via.packetId === input.packetId
}

/** A handshake that the device may have open: its identifier must not be used for something else. */
export function looseOf({ via }: { readonly via: Handshake }): Handshake | null {
  return via.qos === 2 ? via : null
}
