/** Which dead letters one request replays: no more than it can hold in memory, and the oldest first. */

import { InvalidRegistrationError } from '../registry/errors.ts'
import { readPageRequest, toPage } from '../registry/page.ts'
import { type DeadLetter, type DeadLetterFilter, type Place, placeKey, readPlace } from './dead-letter-rows.ts'
import type { DeadLetterStore } from './dead-letter-store.ts'

/** Either ids or a filter. */
export interface ReplayRequest {
  readonly ids?: readonly string[] | undefined
  /** Of those that were replayed before only when `again` or `replayed` says so. */
  readonly filter?: DeadLetterFilter | undefined
  /** Of a filter: how many, 1 to 500; default 50. */
  readonly limit?: number | undefined
  /** Of a filter: `next` of the request before. What came after the first request is not meant. */
  readonly cursor?: string | undefined
  /** Only says what would happen. */
  readonly dryRun?: boolean | undefined
  /** Replays those as well that were replayed before. */
  readonly again?: boolean | undefined
}

export interface Selected {
  /** The oldest first. */
  readonly letters: readonly DeadLetter[]
  /** Ids in the order of the answer. */
  readonly order: readonly string[]
  /** Id, code and message of those that were replayed before. */
  readonly skipped: readonly (readonly [string, string, string])[]
  readonly unknown: readonly string[]
  /** Ids that did not fit. */
  readonly left: readonly string[]
  readonly leftCount: number
  readonly next: string | null
}

/** Values in one request; one that is larger goes alone. */
export const REPLAY_BYTES_MAX = 16 * 1024 * 1024

/** @throws InvalidRegistrationError */
export function selectLetters(request: ReplayRequest, store: DeadLetterStore, nowMs: number): Promise<Selected> {
  return request.ids === undefined ? byFilter(request, store, nowMs) : byIds(request.ids, request, store)
}

async function byIds(ids: readonly string[], { again }: ReplayRequest, store: DeadLetterStore): Promise<Selected> {
  const order = [...new Set(ids)]
  const found = (await store.find(order)).sort(oldestFirst)
  const skipped = again ? [] : found.filter(({ replayedAtMs }) => replayedAtMs !== null)
  const eligible = found.filter((letter) => !skipped.includes(letter))
  const letters = eligible.slice(0, fittingCount(eligible))
  const left = eligible.slice(letters.length).map(({ id }) => id)
  const known = new Set(found.map(({ id }) => id))
  return {
    letters,
    order,
    skipped: skipped.map(({ id, replayedAtMs }) => {
      const at = new Date(replayedAtMs ?? 0).toISOString()
      return [id, 'REPLAYED_BEFORE', `it was replayed at ${at}; "again" replays it once more`]
    }),
    unknown: order.filter((id) => !known.has(id)),
    left,
    leftCount: left.length,
    next: null,
  }
}

async function byFilter(request: ReplayRequest, store: DeadLetterStore, nowMs: number): Promise<Selected> {
  const { filter = {}, again = false } = request
  const { limit, after: key } = readPageRequest<string>(request, 'string')
  // What fails again while we replay is a new dead letter: without an end to the range it would go round for ever.
  const endMs = Math.floor(nowMs) + 1
  const { untilMs, after } = key === null ? { untilMs: endMs, after: null } : readReplayKey(key, request.cursor)
  const meant = {
    ...filter,
    replayed: filter.replayed ?? (again ? undefined : false),
    untilMs: Math.min(untilMs, filter.untilMs ?? untilMs),
  }
  const found = await store.oldest(meant, after, limit + 1)
  const letters = found.slice(0, fittingCount(found.slice(0, limit)))
  const last = letters.at(-1)
  const { next } = toPage(
    found,
    letters.length,
    (letter) => `${untilMs}/${placeKey(letter)}`,
    (letter) => letter,
  )
  return {
    letters,
    order: letters.map(({ id }) => id),
    skipped: [],
    unknown: [],
    left: [],
    leftCount: next === null || last === undefined ? 0 : await store.count(meant, last),
    next,
  }
}

function readReplayKey(key: string, cursor: string | undefined): { untilMs: number; after: Place } {
  const [, untilMs = '', place = ''] = /^(\d{1,15})\/(.+)$/.exec(key) ?? []
  if (untilMs === '') {
    throw new InvalidRegistrationError([{ field: 'cursor', value: cursor, remedy: 'the "next" of the page before' }])
  }
  return { untilMs: Number(untilMs), after: readPlace(place, cursor) }
}

/** How many of them one request takes; at least one. */
function fittingCount(letters: readonly DeadLetter[]): number {
  let bytes = 0
  for (const [index, { valueBytes, parts }] of letters.entries()) {
    bytes += valueBytes * parts
    if (index > 0 && bytes > REPLAY_BYTES_MAX) return index
  }
  return letters.length
}

function oldestFirst(a: DeadLetter, b: DeadLetter): number {
  return a.createdAtMs - b.createdAtMs || a.offset - b.offset || (a.id < b.id ? -1 : 1)
}
