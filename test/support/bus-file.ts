/**
 * Reads a topic of the embedded bus from its file after the cloud has stopped: what stands there is what any consumer
 * would get, whatever the cloud said of it while it ran.
 */

import { join } from 'node:path'
import type { ConsumedRecord } from '../../cloud/bus/bus.ts'
import { decodeBatch } from '../../cloud/bus/embedded/batch-body.ts'
import { LogStore } from '../../cloud/bus/embedded/log-store.ts'

const READ_BYTES_MAX = 4 * 1024 * 1024

/**
 * Calls `onRecord` for every record of `topic`, partition by partition; returns how many there are. Throws when the
 * cloud still has the file open, or when a batch on disk is corrupt.
 */
export function readBusFile(busDir: string, topic: string, onRecord: (record: ConsumedRecord) => void): number {
  const store = new LogStore(join(busDir, 'bus.sqlite'), Number.MAX_SAFE_INTEGER)
  let count = 0
  try {
    for (const { topic: name, partition, nextOffset } of store.partitionStates()) {
      if (name !== topic) continue
      for (let offset = 0; offset < nextOffset; ) {
        const { batches, corrupt } = store.read(topic, partition, offset, READ_BYTES_MAX)
        if (corrupt > 0) throw new Error(`${corrupt} corrupt batches in ${topic}/${partition}`)
        if (batches.length === 0) break
        for (const { baseOffset, recordCount, timestampMs, body } of batches) {
          for (const record of decodeBatch({ topic, partition, baseOffset, timestampMs }, body)) onRecord(record)
          count += recordCount
          offset = baseOffset + recordCount
        }
      }
    }
  } finally {
    store.close()
  }
  return count
}
