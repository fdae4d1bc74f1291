/** Publishing the claimed rows of one topic, and finding out which of them the bus will not have. */

import { BusbarError } from '../../shared/errors.ts'
import type { Bus, BusRecord } from './bus.ts'
import type { OutboxRow } from './outbox-rows.ts'
import { storedOf } from './publish-error.ts'

export interface PublishOutcome {
  readonly stored: OutboxRow[]
  /** Each refused for itself, with the bus's reason. */
  readonly refused: { readonly row: OutboxRow; readonly reason: unknown }[]
  /** Neither: nobody knows whether they are stored, or they were not tried. */
  readonly unsent: OutboxRow[]
  /** Why there are unsent ones. */
  readonly failure: unknown
}

/** Refusals that say nothing about a record: what an operator has to mend holds for every record alike. */
const REFUSALS_OF_ALL = new Set(['KAFKA_REFUSED', 'BUS_STORE_LOCKED'])

/**
 * Publishes rows in one go. When the bus refuses that for good, each half is published by itself, the first one first,
 * until those that it refuses stand alone: what is around them gets through, and a key keeps its order. Never rejects.
 */
export async function publishRows(
  bus: Pick<Bus, 'publish'>,
  topic: string,
  rows: readonly OutboxRow[],
): Promise<PublishOutcome> {
  const stored: OutboxRow[] = []
  const refused: PublishOutcome['refused'] = []
  const parts: (readonly OutboxRow[])[] = [rows]
  for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
    try {
      await bus.publish(topic, part.map(toRecord))
      stored.push(...part)
    } catch (error) {
      const storedIndexes = new Set(storedOf(error))
      stored.push(...part.filter((_, index) => storedIndexes.has(index)))
      const rest = part.filter((_, index) => !storedIndexes.has(index))
      if (concernsEveryRecord(error)) return { stored, refused, unsent: [rest, ...parts].flat(), failure: error }
      const [first] = rest
      if (rest.length === 1 && first !== undefined) refused.push({ row: first, reason: error })
      else if (rest.length > 1) parts.unshift(rest.slice(0, rest.length >> 1), rest.slice(rest.length >> 1))
    }
  }
  return { stored, refused, unsent: [], failure: null }
}

function concernsEveryRecord(error: unknown): boolean {
  return error instanceof BusbarError && (error.retryable || REFUSALS_OF_ALL.has(error.code))
}

function toRecord({ key, value, headers }: OutboxRow): BusRecord {
  return { key, value, ...(headers === null ? {} : { headers: JSON.parse(headers) as Record<string, string> }) }
}
