/** One partition of the embedded log as its readers see it. */

import type { ConsumedRecord } from '../bus.ts'
import { decodeBatch } from './batch-body.ts'
import type { LogClient } from './log-client.ts'
import type { PartitionSource } from './partition-reader.ts'

export class LogPartition implements PartitionSource {
  readonly topic: string
  readonly partition: number
  private readonly store: LogClient
  private readonly listeners = new Set<() => void>()
  private end: number
  private corrupt = 0

  constructor(store: LogClient, topic: string, partition: number, nextOffset: number) {
    this.store = store
    this.topic = topic
    this.partition = partition
    this.end = nextOffset
  }

  get nextOffset(): number {
    return this.end
  }

  /** Batches that failed their checksum and were left out. */
  get corruptBatches(): number {
    return this.corrupt
  }

  /** Says that as many records more are durable. */
  appended(records: number): void {
    this.end += records
    const listeners = [...this.listeners]
    this.listeners.clear()
    for (const wake of listeners) wake()
  }

  onAppended(fn: () => void): void {
    this.listeners.add(fn)
  }

  async read(offset: number, bytesMax: number): Promise<ConsumedRecord[][]> {
    const { topic, partition } = this
    const { batches, corrupt } = await this.store.call({ kind: 'read', topic, partition, offset, bytesMax })
    this.corrupt += corrupt
    return batches.map(({ baseOffset, timestampMs, body }) =>
      decodeBatch({ topic, partition, baseOffset, timestampMs }, body, Math.max(0, offset - baseOffset)),
    )
  }
}
