/** Questions about the activity log: entries page by page, one of them, all of them as a file, and the days of the chain. */

import { sql } from 'kysely'
import { type ExportStats, Exports } from '../../shared/exports.ts'
import type { Logger } from '../../shared/log.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import { InvalidRegistrationError } from '../registry/errors.ts'
import { encodeCursor, type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'
import { type ActivityExportFormat, entryWriter } from './activity-export.ts'
import { entryOf, tryOpen } from './activity-rows.ts'
import type { ActivitySeal } from './activity-seal.ts'
import {
  type ActivityFilter,
  type ActivityPlace,
  ActivitySearch,
  type Opener,
  type SearchBounds,
} from './activity-search.ts'
import { isDay } from './days.ts'
import type { ActivityEntry } from './event.ts'

export interface ActivityQueriesOptions {
  readonly database: DatabaseHandle
  readonly seal: ActivitySeal
  /** How far a page looks; the default is for everybody but tests. */
  readonly bounds?: SearchBounds
  readonly log: Logger
}

/** Whether what is sealed is shown: to auditors alone. */
export interface Sight {
  readonly opened: boolean
}

/** A day of the chain. */
export interface ActivityDay {
  /** UTC, such as 2026-01-31. */
  readonly day: string
  readonly entries: number
  /** Of the last entry of the day before: what its first entry follows. */
  readonly previousHash: string
  /** Of its last entry. */
  readonly headHash: string
  /** Of the key that its hashes are made with. */
  readonly keyId: string
  /** When its entries were removed because of their age; null while they are there. */
  readonly purgedAtMs: number | null
}

/** Entries of one page of an export. */
const EXPORT_PAGE_ROWS = 500

export class ActivityQueries {
  private readonly options: ActivityQueriesOptions
  private readonly search: ActivitySearch
  private readonly exports: Exports

  constructor(options: ActivityQueriesOptions) {
    this.options = options
    this.search = new ActivitySearch(options.database, options.bounds)
    this.exports = new Exports('the activity log', options.log)
  }

  /**
   * The newest first. A page may be short, or empty, and have a `next`: what is rare is looked for in steps.
   * @throws InvalidRegistrationError for limit and cursor; BusbarError DATABASE_UNAVAILABLE
   */
  async list(request: PageRequest & ActivityFilter & Sight): Promise<Page<ActivityEntry>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    const before = after === null ? null : readPlace(after, request.cursor)
    const { places, last } = await this.search.find(
      request,
      before,
      limit + 1,
      request.opened ? this.openText : undefined,
    )
    const shown = places.slice(0, limit)
    const end = places.length > limit ? (shown.at(-1) ?? null) : last
    return { items: await this.load(shown, request.opened), next: end === null ? null : encodeCursor(keyOf(end)) }
  }

  /** Null when there is none, or it was removed because of its age. */
  async get(eventId: string, { opened }: Sight): Promise<ActivityEntry | null> {
    const [entry] = await this.load([{ eventId }], opened)
    return entry ?? null
  }

  /**
   * Text of the export as it is read, the newest first; see `pulledStream`. Its first page is read before this resolves, so
   * that a database that is away is told as a problem. What comes meanwhile is not in it.
   * @param signal aborted when the client has gone.
   * @throws BusbarError DATABASE_UNAVAILABLE, EXPORTS_BUSY
   */
  async export(
    filter: ActivityFilter & { readonly format: ActivityExportFormat },
    signal: AbortSignal,
  ): Promise<ReadableStream<Uint8Array>> {
    return await this.exports.begin(this.chunks(filter), signal)
  }

  /** The newest first, those whose entries are gone as well. */
  async days(request: PageRequest): Promise<Page<ActivityDay>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    if (after !== null && !isDay(after)) throw cursorInvalid(request.cursor)
    let query = this.options.database.kysely.selectFrom('activity_days').selectAll().orderBy('day', 'desc')
    if (after !== null) query = query.where('day', '<', after)
    const rows = await query.limit(limit + 1).execute()
    return toPage(
      rows,
      limit,
      ({ day }) => day,
      ({ day, entries, previous_hash, head_hash, key_id, purged_at_ms }) => {
        return {
          ...{ day, entries, previousHash: previous_hash, headHash: head_hash, keyId: key_id },
          purgedAtMs: purged_at_ms,
        }
      },
    )
  }

  stats(): ExportStats {
    return this.exports.stats()
  }

  private async *chunks(
    filter: ActivityFilter & { readonly format: ActivityExportFormat },
  ): AsyncGenerator<string, void, void> {
    const writer = entryWriter(filter.format)
    let { head } = writer
    let last: ActivityPlace | null = null
    do {
      const found = await this.search.find(filter, last, EXPORT_PAGE_ROWS, this.openText)
      last = found.last
      const text = head + writer.entries(await this.load(found.places, true))
      head = ''
      if (text !== '') yield text
      await nextTurn()
    } while (last !== null)
  }

  private readonly openText: Opener = (eventId, sealed) => {
    const members = tryOpen(this.options.seal, eventId, sealed)
    return members === null ? null : JSON.stringify(members)
  }

  /** In the order of `places`, without those that have gone meanwhile. */
  private async load(places: readonly Pick<ActivityPlace, 'eventId'>[], opened: boolean): Promise<ActivityEntry[]> {
    if (places.length === 0) return []
    const { database, seal, log } = this.options
    const ids = places.map(({ eventId }) => eventId)
    const rows = await database.kysely
      .selectFrom('activity_logs')
      .selectAll()
      .where(sql<boolean>`event_id in ${givenTexts(database.dialect, ids)}`)
      .execute()
    const byId = new Map(rows.map((row) => [row.event_id, row]))
    const failures: string[] = []
    const entries = ids.flatMap((id) => {
      const row = byId.get(id)
      return row === undefined ? [] : [entryOf(row, opened ? seal : undefined, (reason) => failures.push(reason))]
    })
    if (failures.length > 0) {
      log.error({ entries: failures.length, error: failures[0] }, 'what is sealed of some entries could not be opened')
    }
    return entries
  }
}

function keyOf({ atMs, eventId }: ActivityPlace): string {
  return `${atMs}/${eventId}`
}

/** A forged one must not reach the database as something that it cannot hold. */
function readPlace(key: string, cursor: string | undefined): ActivityPlace {
  const [, ms = '', eventId = ''] = /^(-?\d{1,15})\/([A-Za-z0-9_.:-]{1,128})$/.exec(key) ?? []
  if (eventId === '') throw cursorInvalid(cursor)
  return { atMs: Number(ms), eventId }
}

function cursorInvalid(cursor: string | undefined): InvalidRegistrationError {
  return new InvalidRegistrationError([{ field: 'cursor', value: cursor, remedy: 'the "next" of the page before' }])
}
