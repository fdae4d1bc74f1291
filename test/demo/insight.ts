/** What the cloud makes of the demo's readings: a rule that watches them, and whether the database has every one of them. */

import { ApiClient } from '../../cloud/cli/api-client.ts'
import { formatCount } from '../../shared/cli/format.ts'
import type { Paint } from '../../shared/cli/terminal.ts'
import { systemClock as clock, sleep } from '../../shared/clock.ts'
import { systemRandom as random } from '../../shared/random.ts'
import { SITE_ID, type Stage } from './stage.ts'

export interface InsightResult {
  /** Readings in the database, as the roll-ups count them. */
  readonly counted: number
  readonly verdict: string
  /** Alerts that the rule opened, and notifications of them: the first ones one by one, the others in a summary. */
  readonly alerts: number
  readonly told: number
}

interface CompletenessBody {
  readonly verdict: string
  readonly arrived: { readonly records: number }
}

/** Whoever is told in the demo. */
const OPERATOR = 'operator'
const LOOK_MS = 200
const SETTLED_TIMEOUT_MS = 30_000
const LIST_MAX = 10_000

const apiOf = (stage: Stage): ApiClient => new ApiClient({ url: stage.cloud.apiUrl, clock, random })

/** From now on somebody is told when a feeder carries much. */
export async function watchMeters(stage: Stage): Promise<void> {
  await apiOf(stage).post('/api/v1/alert-rules', {
    name: 'Feeder above 30 kW',
    severity: 'WARNING',
    ...{ deviceType: 'METER', field: 'powerKw', comparison: 'GT', threshold: 30, hysteresis: 10 },
    recipients: { userIds: [OPERATOR] },
  })
}

/**
 * Waits until `expected` readings are counted and nothing is left to wait for, or until it takes too long; null when it was
 * interrupted.
 */
export async function lookBack(stage: Stage, expected: number, signal: AbortSignal): Promise<InsightResult | null> {
  const api = apiOf(stage)
  const path = `/api/v1/sites/${SITE_ID}/completeness`
  const beganMs = clock.monotonicMs()
  for (;;) {
    const { verdict, arrived } = await api.get<CompletenessBody>(path, { from: '2000-01-01T00:00:00Z' })
    const isSettled = arrived.records >= expected && verdict === 'COMPLETE'
    if (isSettled || clock.monotonicMs() - beganMs > SETTLED_TIMEOUT_MS) {
      const alerts = await api.list('/api/v1/alerts', {}, LIST_MAX)
      const told = await api.list(`/api/v1/users/${OPERATOR}/notifications`, { type: 'TELEMETRY_ALERT' }, LIST_MAX)
      return { counted: arrived.records, verdict, alerts: alerts.items.length, told: told.items.length }
    }
    await sleep(clock, LOOK_MS, signal)
    if (signal.aborted) return null
  }
}

/** Every reading counts once, and somebody was told of what the rule found. */
export function isWhole({ counted, alerts, told }: InsightResult, published: number): boolean {
  return counted === published && alerts > 0 && told > 0
}

export function insightLines(result: InsightResult, published: number, paint: Paint): string[] {
  const { counted, verdict, alerts, told } = result
  const row = (name: string, text: string): string => `  ${name.padEnd(13)}${text.padStart(10)}`
  const colour = counted === published ? paint.good : paint.bad
  return [
    `  ${'rolled up'.padEnd(13)}${colour(formatCount(counted).padStart(10))}`,
    row('completeness', verdict),
    row('alerts', formatCount(alerts)),
    row('told', formatCount(told)),
  ]
}
