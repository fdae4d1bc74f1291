/** Everything on some topics of a bus, gathered as it comes. */

import { onTestFinished } from 'vitest'
import type { Bus, ConsumedRecord } from '../../cloud/bus/bus.ts'

export interface TopicReader {
  readonly records: ConsumedRecord[]
  /** Parsed values of one topic, in the order of arrival. */
  values(topic: string): Record<string, unknown>[]
  stop(): Promise<void>
}

let groups = 0

/** From the oldest record on. */
export async function readTopics(bus: Bus, topics: readonly string[]): Promise<TopicReader> {
  const records: ConsumedRecord[] = []
  const subscription = await bus.subscribe({
    group: `reader-${++groups}`,
    topics,
    onBatch: (batch) => {
      records.push(...batch.records)
      return Promise.resolve()
    },
  })
  onTestFinished(() => subscription.stop())
  return {
    records,
    values: (topic) => records.filter((each) => each.topic === topic).map((each) => JSON.parse(each.value.toString())),
    stop: () => subscription.stop(),
  }
}
