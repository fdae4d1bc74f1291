/** Prometheus metrics that every consumer of the bus has. */

import { labelled, type Metrics } from '../shared/metrics.ts'
import type { RecordConsumerStats } from './bus/record-consumer.ts'

export type ConsumerStats = Pick<RecordConsumerStats, 'failing' | 'behindMs'>

/** @param consumers by the name that the label `consumer` has. */
export function consumerMetrics({ gauge }: Metrics, consumers: Readonly<Record<string, () => ConsumerStats>>): void {
  const each = (read: (stats: ConsumerStats) => number) => {
    return labelled('consumer', Object.fromEntries(Object.entries(consumers).map(([name, of]) => [name, read(of())])))
  }
  gauge(
    'consumer_failing',
    '1 while a consumer waits for something that it needs',
    () => each(({ failing }) => (failing === null ? 0 : 1)),
    ['consumer'],
  )
  gauge(
    'consumer_behind_seconds',
    'How far a consumer of this core is behind the bus; 0 when nothing came for a while',
    () => each(({ behindMs }) => behindMs / 1000),
    ['consumer'],
  )
}
