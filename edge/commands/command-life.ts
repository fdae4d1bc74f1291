/**
 * The life of a command at the edge: one function from a state (`life-state.ts`) and what happened to the
 * next state and what is to be done (`life-step.ts`). It knows no clock, disk or network.
 *
 *     waiting ─▶ claiming ─▶ published ─▶ receiving ─▶ received ─▶ delivered ─▶ ending ─▶ ended
 *
 * What keeps a command from being carried out twice, or late:
 * - `claiming` puts the packet identifier on disk; the PUBLISH goes out when it is there. Whoever finds that row after a
 *   crash takes the PUBLISH for written.
 * - a PUBLISH is repeated only in a session that outlived its connection, with QoS 2 and the identifier it had, before
 *   the command expires. Otherwise silence ends as TIMED_OUT.
 * - `receiving` puts PUBREC on disk, then PUBREL goes out, and from there no PUBLISH does.
 * - PUBREL goes out however late it is, since many clients run a command only then and the device has agreed to it; but
 *   not after the end, since what was reported as over must not run.
 */

import { finishing, looseOf, underway } from './handshake.ts'
import { type CommandLife, isDue, isExpired, type Now, type Terms, type Underway, WAITING } from './life-state.ts'
import { end, type LifeInput, NOTHING, STORE, type Step, unchanged } from './life-step.ts'

/** What follows from `input`; the same life and no effects when nothing does. */
export function transition(life: CommandLife, input: LifeInput, terms: Terms, now: Now): Step {
  if (input.kind === 'tick') return isDue(life, terms, now) ? overdue(life, terms) : unchanged(life)
  switch (life.phase) {
    case 'waiting':
      return waiting(life, input, terms, now)
    case 'claiming':
      return claiming(life, input, terms, now)
    case 'published':
    case 'repeating':
    case 'receiving':
    case 'received':
      return underway(life, input, terms, now)
    case 'delivered':
      return input.kind === 'answered' ? end('ANSWERED') : unchanged(life)
    case 'answered':
      return finishing(life, input)
    case 'ending':
      if (input.kind === 'told') return { life: { phase: 'ended', outcome: life.outcome }, effects: NOTHING }
      if (life.outcome === 'ANSWERED' && input.kind === 'stored') {
        return { life: { phase: 'ended', outcome: 'ANSWERED' }, effects: NOTHING }
      }
      // Nobody was told that it is over, so the answer counts.
      if (life.outcome === 'TIMED_OUT' && input.kind === 'answered') return end('ANSWERED', life.loose)
      return unchanged(life)
    case 'ended':
      return unchanged(life)
  }
}

function waiting(life: CommandLife, input: LifeInput, terms: Terms, now: Now): Step {
  if (input.kind === 'cancel') return end('CANCELLED', null, input.reason)
  if (input.kind !== 'opened' || now.cloudMs === null) return unchanged(life)
  if (isExpired(terms, now)) return end('EXPIRED')
  const { session, durable, qos, packetId } = input
  const via = { session, packetId, qos, resumable: durable && qos === 2 }
  return { life: { phase: 'claiming', via }, effects: STORE }
}

function claiming(life: Extract<CommandLife, { phase: 'claiming' }>, input: LifeInput, terms: Terms, now: Now): Step {
  const { via } = life
  switch (input.kind) {
    case 'stored': {
      const { payload } = input
      // The disk may have taken its time.
      if (isExpired(terms, now)) return end('EXPIRED')
      if (payload === undefined || payload === null) return end('CANCELLED', null, 'its parameters are not JSON')
      return {
        life: { phase: 'published', via, attached: true, sinceMs: now.monotonicMs },
        effects: [{ kind: 'publish', packetId: via.packetId, payload, dup: false }],
      }
    }
    case 'closed':
      return { life: WAITING, effects: STORE }
    case 'cancel':
      return end('CANCELLED', null, input.reason)
    default:
      return unchanged(life)
  }
}

function overdue(life: CommandLife, terms: Terms): Step {
  switch (life.phase) {
    case 'waiting':
    case 'claiming':
      return end('EXPIRED')
    case 'delivered':
      return end('TIMED_OUT', null, `the device has it and did not answer within ${terms.timeoutMs} ms`)
    case 'answered':
      return end('ANSWERED', looseOf(life))
    case 'published':
    case 'repeating':
    case 'receiving':
    case 'received':
      return end('TIMED_OUT', looseOf(life), silence(life))
    case 'ending':
    case 'ended':
      return unchanged(life)
  }
}

function silence({ via, attached, phase }: Underway): string {
  if (phase === 'received' || phase === 'receiving') return 'the device took it, but did not finish taking it or answer'
  if (attached) return 'the device did not confirm that it has it'
  const kept = via.resumable ? 'did not come back for it' : 'keeps no session in which to send it again'
  return `the connection was lost while it was on its way, and the device ${kept}; it may have it`
}
