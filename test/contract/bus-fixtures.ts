/** Topics of a test's own, and somewhere for their records to go. */

import type { ConsumedBatch, ConsumedRecord } from '../../cloud/bus/bus.ts'
import type { TopicSpec } from '../../cloud/bus/catalogue.ts'

export const DAY_MS = 86_400_000
const PARTITIONS = 3
let topicNumber = 0

export function uniqueTopic(overrides: Partial<TopicSpec> = {}): TopicSpec {
  return {
    topic: `readings-${topicNumber++}-${process.pid}`,
    key: 'serialNumber',
    partitions: PARTITIONS,
    retentionMs: DAY_MS,
    cleanup: 'delete',
    producers: [],
    groups: [],
    deadLetterTopic: null,
    ...overrides,
  }
}

/** Collects records, and may be told to fail. */
export class Sink {
  readonly records: ConsumedRecord[] = []
  failing = false
  rejected = 0
  readonly onBatch = async (batch: ConsumedBatch): Promise<void> => {
    if (this.failing) {
      this.rejected++
      throw new Error('the store is away')
    }
    this.records.push(...batch.records)
  }

  values(key?: string): string[] {
    return this.records.filter((record) => key === undefined || record.key === key).map(({ value }) => String(value))
  }
}
