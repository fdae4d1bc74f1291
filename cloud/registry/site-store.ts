/** Sites: the substations. */

import type { Kysely, RawBuilder, Selectable } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { isDuplicate } from '../database/failure.ts'
import type { Database, SitesTable } from '../database/schema.ts'
import { AlreadyRegisteredError, InvalidRegistrationError, NotRegisteredError } from './errors.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from './page.ts'
import { siteCondition } from './site-condition.ts'
import type { SiteScope } from './site-scope.ts'
import { invalidName, invalidSiteId } from './text-fields.ts'

export interface Site {
  readonly id: number
  readonly name: string
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

export class SiteStore {
  private readonly database: DatabaseHandle
  private readonly clock: Clock

  constructor(options: { readonly database: DatabaseHandle; readonly clock: Clock }) {
    this.database = options.database
    this.clock = options.clock
  }

  /** @param request `sites`: no others. */
  async list(request: PageRequest & { readonly sites?: SiteScope } = {}): Promise<Page<Site>> {
    const { limit, after } = readPageRequest<number>(request, 'number')
    const within = siteCondition(this.database.dialect, 'id', request.sites)
    let query = this.database.kysely
      .selectFrom('sites')
      .selectAll()
      .orderBy('id')
      .limit(limit + 1)
    if (after !== null) query = query.where('id', '>', after)
    if (within !== null) query = query.where(within)
    return toPage(await query.execute(), limit, (row) => row.id, toSite)
  }

  async get(id: number): Promise<Site | null> {
    const row = await this.database.kysely.selectFrom('sites').selectAll().where('id', '=', id).executeTakeFirst()
    return row === undefined ? null : toSite(row)
  }

  /** Those of them that there are, in no order. */
  async some(ids: readonly number[], kysely: Kysely<Database> = this.database.kysely): Promise<Site[]> {
    const within = siteCondition(this.database.dialect, 'id', new Set(ids)) as RawBuilder<boolean>
    return (await kysely.selectFrom('sites').selectAll().where(within).execute()).map(toSite)
  }

  /** @throws InvalidRegistrationError, AlreadyRegisteredError */
  async create(site: { readonly id: number; readonly name?: string | undefined }): Promise<Site> {
    const { id, name = `Site ${id}` } = site
    const invalid = [...invalidSiteId(id), ...invalidName(name)]
    if (invalid.length > 0) throw new InvalidRegistrationError(invalid)
    const nowMs = this.clock.wallMs()
    const row = { id, name, created_at_ms: nowMs, updated_at_ms: nowMs }
    try {
      await this.database.kysely.insertInto('sites').values(row).execute()
    } catch (error) {
      throw isDuplicate(error) ? new AlreadyRegisteredError('site', `site ${id}`, error) : error
    }
    return toSite(row)
  }

  /** @throws InvalidRegistrationError, NotRegisteredError */
  async update(id: number, changes: { readonly name?: string | undefined }): Promise<Site> {
    const { name } = changes
    const invalid = name === undefined ? [] : invalidName(name)
    if (invalid.length > 0) throw new InvalidRegistrationError(invalid)
    const row = await this.database.kysely
      .updateTable('sites')
      .set({ ...(name === undefined ? {} : { name }), updated_at_ms: this.clock.wallMs() })
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirst()
    if (row === undefined) throw new NotRegisteredError('site', `site ${id}`)
    return toSite(row)
  }
}

function toSite(row: Selectable<SitesTable>): Site {
  return { id: row.id, name: row.name, createdAtMs: row.created_at_ms, updatedAtMs: row.updated_at_ms }
}
