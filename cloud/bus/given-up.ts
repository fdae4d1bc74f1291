/** Publishes the dead letters of what consumers give up. */

import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { Bus, ConsumedRecord } from './bus.ts'
import { deadLetterTopicOf } from './catalogue.ts'
import { deadLetters } from './dead-letter.ts'
import { readJson } from './json-value.ts'

/** Dead letters of one batch that have a line of their own in the log. */
const LINES_MAX = 20
/** A larger value is not read for its line. */
const READ_BYTES_MAX = 64 * 1024
const NAME_CHARS_MAX = 128

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
    for (const each of ofTopic.slice(0, LINES_MAX)) log.warn({ topic, group, ...lineOf(each) }, 'record dead-lettered')
    if (ofTopic.length === 1) continue
    const first = lineOf(ofTopic[0] as GivenUp)
    log.warn({ topic, group, records: ofTopic.length, first }, 'records dead-lettered')
  }
}

function lineOf({ record, code, message, retryCount }: GivenUp): Record<string, unknown> {
  const { partition, offset, value } = record
  return { partition, offset: String(offset), code, message, retryCount, ...namedIn(value) }
}

/** What else of the log is about the same. */
function namedIn(value: Buffer): Record<string, string> {
  if (value.length > READ_BYTES_MAX) return {}
  const parsed = readJson(value)
  if (typeof parsed !== 'object' || parsed === null) return {}
  const names = ['eventId', 'correlationId'].flatMap((name): [string, string][] => {
    const member = (parsed as Record<string, unknown>)[name]
    return typeof member === 'string' ? [[name, member.slice(0, NAME_CHARS_MAX)]] : []
  })
  return Object.fromEntries(names)
}

/** Counts by code. */
export function countGivenUp(counts: Record<string, number>, givenUp: readonly GivenUp[]): void {
  for (const { code } of givenUp) counts[code] = (counts[code] ?? 0) + 1
}
