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
      if (!attached || via.packetId !== input.packetId || via.qos !== 2) return unchanged(life)
      // A PUBREC that comes again asks for its PUBREL again [MQTT-4.3.3-1].
      if (phase === 'received') return { life, effects: [{ kind: 'release', packetId: via.packetId }] }
      return phase === 'receiving' ? unchanged(life) : { life: { ...life, phase: 'receiving' }, effects: STORE }
    case 'completed':
      if (!attached || via.packetId !== input.packetId || !mayComplete(life)) return unchanged(life)
      return {
        life: { phase: 'delivered', sinceMs: now.monotonicMs },
        effects: [{ kind: 'store', fact: { state: 'DELIVERED' } }],
      }
    case 'answered': {
      if (!attached || via.qos !== 2) return end('ANSWERED', looseOf(life))
      const pubrec = phase === 'receiving' || phase === 'received'
      return { life: { ...life, phase: 'answered', stored: false, pubrec }, effects: STORE }
    }
    default:
      return unchanged(life)
  }
}

/** The device is there again, on another connection than that of the handshake. */
function reopened(life: Underway, route: Extract<LifeInput, { kind: 'opened' }>, terms: Terms, now: Now): Step {
  const { via, phase } = life
  const same = via.resumable && route.durable && route.qos === 2 && route.clientId === via.clientId
  if (!same) {
    // [MQTT-3.1.2-6]: what it knew of the handshake is gone with its session.
    return via.resumable ? { life: { ...life, via: { ...via, resumable: false } }, effects: NOTHING } : unchanged(life)
  }
  const attached = { ...life, attached: true, sinceMs: now.monotonicMs }
  if (phase === 'received') return { life: attached, effects: [{ kind: 'release', packetId: via.packetId }] }
  if (phase === 'receiving') return { life: attached, effects: NOTHING }
  if (now.cloudMs === null || isExpired(terms, now)) return unchanged(life)
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

/** PUBACK ends QoS 1, PUBCOMP ends QoS 2 and follows PUBREL only. */
function mayComplete({ via, phase }: Underway): boolean {
  return via.qos === 1 ? phase === 'published' : phase === 'received'
}

/** The device answered already: its handshake is finished, as far as the connection lasts. */
export function finishing(life: Extract<CommandLife, { phase: 'answered' }>, input: LifeInput): Step {
  const { via, stored, pubrec } = life
  const release: readonly LifeEffect[] = [{ kind: 'release', packetId: via.packetId }]
  switch (input.kind) {
    case 'stored':
      return { life: { ...life, stored: true }, effects: pubrec ? release : NOTHING }
    case 'received':
      if (input.packetId !== via.packetId) return unchanged(life)
      // Before the answer is on disk a crash would repeat the PUBLISH under an identifier that PUBREL made free.
      return { life: { ...life, pubrec: true }, effects: stored ? release : NOTHING }
    case 'completed':
      return input.packetId === via.packetId ? end('ANSWERED') : unchanged(life)
    case 'closed':
      return end('ANSWERED', looseOf(life))
    default:
      return unchanged(life)
  }
}

/** A handshake that the device may find open when it comes back; its identifier must not be used for something else. */
export function looseOf({ via }: { readonly via: Handshake }): Handshake | null {
  return via.resumable ? via : null
}
