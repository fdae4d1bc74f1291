/** Prometheus metrics of values in Avro, where there is a schema registry. */

import { labelled, type Metrics } from '../shared/metrics.ts'
import type { Bus, EncodingStats } from './bus/bus.ts'

/** None of them where the bus has no registry. */
export function encodingMetrics({ counter }: Metrics, bus: Pick<Bus, 'stats'>): void {
  const { encoding } = bus.stats()
  if (encoding === undefined) return
  const stats = (): EncodingStats => bus.stats().encoding ?? encoding
  counter('avro_encoded_records', 'Records written as Avro', () => stats().encodedRecords)
  counter('avro_decoded_records', 'Records read as Avro', () => stats().decodedRecords)
  counter('avro_refused_records', 'Records that did not fit the schema of their topic', () => stats().refusedRecords)
  counter(
    'avro_undecodable_records',
    'Records that begin as Avro and could not be read',
    () => labelled('cause', stats().undecodable),
    ['cause'],
  )
  counter('schema_registry_requests', 'Requests to the schema registry', () => stats().registryRequests)
  counter(
    'schema_registry_failures',
    'Requests that the schema registry did not answer, or refused',
    () => labelled('cause', stats().registryFailures),
    ['cause'],
  )
}
