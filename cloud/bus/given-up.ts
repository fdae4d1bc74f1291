/** Publishes the dead letters of what consumers give up. */

import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { Bus, ConsumedRecord } from './bus.ts'
import { deadLetterTopicOf } from './catalogue.ts'
import { deadLetters } from './dead-letter.ts'

/** A record that is given up. */
export interface GivenUp {
  readonly record: ConsumedRecord
  readonly code: string
  readonly message: string
  /** Tries of the record itself. */
  readonly retryCount: number
}

/** @throws BusbarError DEAD_LETTER_FAILED, retryable; some may be published then. */
export async function publishGivenUp(
  givenUp: readonly GivenUp[],
  options: {
    readonly bus: Pick<Bus, 'publish'>
    readonly group: string
    readonly clock: Clock
    readonly log: Logger
  },
): Promise<void> {
  const { bus, group, clock, log } = options
  const atMs = clock.wallMs()
  for (const [topic, ofTopic] of Map.groupBy(givenUp, ({ record }) => record.topic)) {
    const letters = ofTopic.flatMap(({ record, ...reason }) => deadLetters(record, { source: group, ...reason, atMs }))
    try {
      await bus.publish(deadLetterTopicOf(topic), letters)
    } catch (error) {
      const message = `records of ${topic} that cannot be used could not be dead-lettered: ${messageOf(error)}`
      throw new BusbarError(message, { code: 'DEAD_LETTER_FAILED', retryable: true, cause: error })
    }
    const [{ record, code, message }] = ofTopic as [GivenUp]
    const first = { partition: record.partition, offset: String(record.offset), code, message }
    log.warn({ topic, group, records: ofTopic.length, first }, 'records dead-lettered')
  }
}

/** Counts by code. */
export function countGivenUp(counts: Record<string, number>, givenUp: readonly GivenUp[]): void {
  for (const { code } of givenUp) counts[code] = (counts[code] ?? 0) + 1
}
