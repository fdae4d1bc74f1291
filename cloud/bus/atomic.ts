/** What is published as one, all of it or nothing: how large it may be, whatever the bus. */

import { BusbarError } from '../../shared/errors.ts'
import type { BusRecord } from './bus.ts'

/** Bytes of records that are published as one; more would keep readers and the transaction waiting for too long. */
export const ATOMIC_BYTES_MAX = 8 * 1024 ** 2
/** Of a record besides what is in it, and of a header besides its name and value; neither bus takes more. */
const RECORD_OVERHEAD_BYTES = 48
const HEADER_OVERHEAD_BYTES = 10

/**
 * Bytes that the records take at most, before compression.
 * @throws BusbarError BATCH_TOO_LARGE
 */
export function atomicBytes(topic: string, records: readonly BusRecord[]): number {
  let bytes = 0
  for (const { key, value, headers } of records) {
    bytes += RECORD_OVERHEAD_BYTES + Buffer.byteLength(key ?? '') + Buffer.byteLength(value)
    for (const name in headers) {
      bytes += HEADER_OVERHEAD_BYTES + Buffer.byteLength(name) + Buffer.byteLength(headers[name] as string)
    }
  }
  if (bytes > ATOMIC_BYTES_MAX) throw batchTooLarge(topic, records.length, bytes, ATOMIC_BYTES_MAX)
  return bytes
}

/** @param bytesMax null when it is not known. */
export function batchTooLarge(topic: string, count: number, bytes: number, bytesMax: number | null): BusbarError {
  const limit = bytesMax === null ? '' : ` of ${bytesMax} bytes`
  return new BusbarError(
    `${count} records for ${topic} that belong together take ${bytes} bytes, which is above the limit${limit}`,
    { code: 'BATCH_TOO_LARGE', hint: 'Send fewer of them at once.' },
  )
}
