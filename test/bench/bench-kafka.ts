/** A Kafka broker of a section's own, fresh, so that no topic holds what another section wrote. */

import type { Bench } from './figure.ts'

export interface BenchKafka {
  readonly brokers: readonly string[]
  /** Records that a topic has taken in, over all partitions. */
  endOffset(topic: string): Promise<number>
  stop(): Promise<void>
}

/** Null where Kafka cannot run; the bench says why. */
export async function benchKafka(bench: Bench, section: string): Promise<BenchKafka | null> {
  bench.skip(`${section}: no Kafka here`)
  return null
}
