/** Users and their roles in the database. */

import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database, Dialect, UsersTable } from '../database/schema.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'
import type { SiteScope } from '../registry/site-scope.ts'
import type { Grant, Role } from './roles.ts'
import type { User, UserStatus } from './user.ts'

type Queries = Kysely<Database> | Transaction<Database>

export interface NewUserRow {
  readonly id: string
  readonly name: string | null
  readonly email: string | null
  readonly passwordHash: string | null
  readonly oidcSubject: string | null
}

export class UserStore {
  private readonly kysely: Kysely<Database>
  private readonly dialect: Dialect

  constructor({ kysely, dialect }: DatabaseHandle) {
    this.kysely = kysely
    this.dialect = dialect
  }

  /** By id; only users each of whose roles is at one of `sites`, unless that is all. */
  async list(request: PageRequest, sites: SiteScope): Promise<Page<User>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    let query = this.kysely
      .selectFrom('users')
      .selectAll()
      .orderBy('id')
      .limit(limit + 1)
    if (after !== null) query = query.where('id', '>', after)
    if (sites !== 'all') {
      const rows = [...sites].map((siteId) => ({ given_site: siteId }))
      const given = givenRows(this.dialect, { given_site: 'integer' }, rows)
      query = query.where(
        sql<boolean>`exists (select 1 from user_grants where user_id = users.id) and not exists (
          select 1 from user_grants where user_id = users.id and site_id not in (select given_site from ${given}))`,
      )
    }
    const rows = await query.execute()
    const grants = await this.grantsOf(
      rows.map(({ id }) => id),
      this.kysely,
    )
    return toPage(
      rows,
      limit,
      ({ id }) => id,
      (row) => toUser(row, grants.get(row.id) ?? []),
    )
  }

  async get(id: string, queries: Queries = this.kysely): Promise<User | null> {
    return await this.found(
      await queries.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst(),
      queries,
    )
  }

  async ofProvider(oidcSubject: string, queries: Queries): Promise<User | null> {
    const row = queries.selectFrom('users').selectAll().where('oidc_subject', '=', oidcSubject)
    return await this.found(await row.executeTakeFirst(), queries)
  }

  /** The user, kept from changing until the transaction ends. */
  async lock(id: string, transaction: Transaction<Database>): Promise<User | null> {
    const row = await transaction
      .selectFrom('users')
      .selectAll()
      .where('id', '=', id)
      .$if(this.dialect === 'postgres', (query) => query.forUpdate())
      .executeTakeFirst()
    return await this.found(row, transaction)
  }

  /**
   * Keeps the administrators of everything from changing until the transaction ends. All come to their locks in one order,
   * and what is asked afterwards is seen as whoever held them before left it.
   */
  async lockAdministrators(transaction: Transaction<Database>): Promise<void> {
    if (this.dialect !== 'postgres') return
    await sql`select 1 from users where id in (select user_id from user_grants where role = 'admin' and site_id = 0)
      order by id for update`.execute(transaction)
  }

  /** Of those who can log in; see `lockAdministrators`. */
  async countAdministrators(queries: Queries): Promise<number> {
    const { count } = await queries
      .selectFrom('users')
      .innerJoin('user_grants', 'user_grants.user_id', 'users.id')
      .select(({ fn }) => fn.countAll<number | string>().as('count'))
      .where('users.status', '=', 'active')
      .where('user_grants.role', '=', 'admin')
      .where('user_grants.site_id', '=', 0)
      .executeTakeFirstOrThrow()
    return Number(count)
  }

  async insert(user: NewUserRow, grants: readonly Grant[], nowMs: number, transaction: Transaction<Database>) {
    const { id, name, email, passwordHash, oidcSubject } = user
    await transaction
      .insertInto('users')
      .values({
        ...{ id, name, email, status: 'active', last_login_at_ms: null },
        ...{ password_hash: passwordHash, oidc_subject: oidcSubject, created_at_ms: nowMs, updated_at_ms: nowMs },
      })
      .execute()
    await this.insertGrants(id, grants, transaction)
  }

  async update(
    id: string,
    changes: { readonly name?: string | null; readonly email?: string | null; readonly status?: UserStatus },
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<void> {
    await transaction
      .updateTable('users')
      .set({ ...changes, updated_at_ms: nowMs })
      .where('id', '=', id)
      .execute()
  }

  async replaceGrants(id: string, grants: readonly Grant[], transaction: Transaction<Database>): Promise<void> {
    await transaction.deleteFrom('user_grants').where('user_id', '=', id).execute()
    await this.insertGrants(id, grants, transaction)
  }

  /** What stands for the password, and whether the user may log in; null when there is no such user. */
  async passwordOf(
    id: string,
    queries: Queries = this.kysely,
  ): Promise<{ readonly hash: string | null; readonly active: boolean } | null> {
    const row = await queries
      .selectFrom('users')
      .select(['password_hash', 'status'])
      .where('id', '=', id)
      .executeTakeFirst()
    return row === undefined ? null : { hash: row.password_hash, active: row.status === 'active' }
  }

  async setPassword(id: string, hash: string, nowMs: number, transaction: Transaction<Database>): Promise<void> {
    await transaction
      .updateTable('users')
      .set({ password_hash: hash, updated_at_ms: nowMs })
      .where('id', '=', id)
      .execute()
  }

  /** The same password, hashed as the settings now say; unless it was changed meanwhile. */
  async rehash(id: string, from: string, to: string): Promise<void> {
    const same = this.kysely.updateTable('users').set({ password_hash: to }).where('id', '=', id)
    await same.where('password_hash', '=', from).execute()
  }

  async grantsOf(ids: readonly string[], queries: Queries = this.kysely): Promise<ReadonlyMap<string, Grant[]>> {
    const grants = new Map<string, Grant[]>()
    if (ids.length === 0) return grants
    const rows = await queries
      .selectFrom('user_grants')
      .selectAll()
      .where(sql<boolean>`user_id in ${givenTexts(this.dialect, ids)}`)
      .orderBy('role')
      .orderBy('site_id')
      .execute()
    for (const { user_id, role, site_id } of rows) {
      const list = grants.get(user_id) ?? []
      list.push({ role: role as Role, siteId: site_id === 0 ? 'all' : site_id })
      grants.set(user_id, list)
    }
    return grants
  }

  private async found(row: Selectable<UsersTable> | undefined, queries: Queries): Promise<User | null> {
    if (row === undefined) return null
    return toUser(row, (await this.grantsOf([row.id], queries)).get(row.id) ?? [])
  }

  private async insertGrants(id: string, grants: readonly Grant[], transaction: Transaction<Database>): Promise<void> {
    if (grants.length === 0) return
    const rows = grants.map(({ role, siteId }) => ({ user_id: id, role, site_id: siteId === 'all' ? 0 : siteId }))
    await transaction.insertInto('user_grants').values(rows).execute()
  }
}

function toUser(row: Selectable<UsersTable>, grants: readonly Grant[]): User {
  return {
    id: row.id,
    name: row.name,
    email: row.email,
    status: row.status as UserStatus,
    hasPassword: row.password_hash !== null,
    oidcSubject: row.oidc_subject,
    grants,
    createdAtMs: row.created_at_ms,
    updatedAtMs: row.updated_at_ms,
    lastLoginAtMs: row.last_login_at_ms,
  }
}
