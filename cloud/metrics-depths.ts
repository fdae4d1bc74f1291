/** Prometheus metrics of how much waits on the bus. */

import type { Metrics } from '../shared/metrics.ts'
import type { Depths } from './depths.ts'

export function depthMetrics({ gauge }: Metrics, depths: Pick<Depths, 'stats'>): void {
  gauge(
    'consumer_lag_records',
    'Records on the bus that a group has not handled, of all cores',
    () => depths.stats().lag.map(({ group, topic, records }) => ({ labels: { group, topic }, value: records })),
    ['group', 'topic'],
  )
  gauge(
    'dead_letters_open',
    'Dead letters that were not replayed, of all cores',
    () => depths.stats().deadLetters.map(({ topic, records }) => ({ labels: { topic }, value: records })),
    ['topic'],
  )
}
