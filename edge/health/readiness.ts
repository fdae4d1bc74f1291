/** Whether the edge can do its work: take what devices publish and keep it. */

import type { HealthSources } from './sources.ts'

export interface Readiness {
  readonly ready: boolean
  /** Why not; empty when ready. */
  readonly reasons: readonly ReadinessReason[]
}

export interface ReadinessReason {
  readonly part: 'spool' | 'broker'
  readonly reason: string
}

/** The uplink has no say: being offline is normal, and sending devices elsewhere would not help. */
export function readinessOf({ spool, broker }: HealthSources): Readiness {
  const reasons: ReadinessReason[] = []
  const { failing } = spool.stats()
  if (failing !== null) reasons.push({ part: 'spool', reason: `cannot store: ${failing}` })
  else if (!spool.accepting) reasons.push({ part: 'spool', reason: 'the disk is behind; devices wait' })
  for (const { kind, host, port, listening } of broker.listeners()) {
    if (!listening) reasons.push({ part: 'broker', reason: `not listening for ${kind} on ${host}:${port}` })
  }
  return { ready: reasons.length === 0, reasons }
}
