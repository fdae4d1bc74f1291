/** Questions about the activity log: entries page by page, one of them, all of them as a file, and the days of the chain. */

import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Page, PageRequest } from '../registry/page.ts'
import type { ActivityFilter } from './activity-search.ts'
import type { ActivityEntry } from './event.ts'

export interface ActivityQueriesOptions {
  readonly database: DatabaseHandle
  /** Opens what is sealed. */
  readonly seal: { open(sealed: string, eventId: string): Readonly<Record<string, unknown>> }
  readonly log: Logger
}

/** Whether what is sealed is shown: to auditors alone. */
export interface Sight {
  readonly opened: boolean
}

export type ActivityExportFormat = 'ndjson' | 'csv'

/** A day of the chain. */
export interface ActivityDay {
  /** UTC, such as 2026-01-31. */
  readonly day: string
  readonly entries: number
  readonly previousHash: string
  readonly headHash: string
  readonly keyId: string
  readonly purgedAtMs: number | null
}

export class ActivityQueries {
  private readonly options: ActivityQueriesOptions

  constructor(options: ActivityQueriesOptions) {
    this.options = options
  }

  /** The newest first. A page may be short, or empty, and have a `next`: looking for what is rare is done in steps. */
  async list(_request: PageRequest & ActivityFilter & Sight): Promise<Page<ActivityEntry>> {
    void this.options
    return { items: [], next: null }
  }

  async get(_eventId: string, _sight: Sight): Promise<ActivityEntry | null> {
    return null
  }

  /** @param signal aborted when the client has gone. @throws BusbarError DATABASE_UNAVAILABLE, EXPORTS_BUSY */
  async export(
    _filter: ActivityFilter & { readonly format: ActivityExportFormat },
    _signal: AbortSignal,
  ): Promise<ReadableStream<Uint8Array>> {
    return new ReadableStream()
  }

  /** The newest first. */
  async days(_request: PageRequest): Promise<Page<ActivityDay>> {
    return { items: [], next: null }
  }
}
