/** Logins and their refresh tokens in the database. */

import { type Kysely, type Selectable, sql, type Transaction } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database, Dialect, LoginSessionsTable } from '../database/schema.ts'
import { newestFirstKey, olderThan } from '../registry/newest-first.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'

/** Somebody logged in, on one device. */
export interface Login {
  readonly id: string
  readonly userId: string
  readonly method: LoginMethod
  readonly address: string | null
  readonly userAgent: string | null
  readonly createdAtMs: number
  readonly refreshedAtMs: number
  readonly expiresAtMs: number
  readonly endedAtMs: number | null
  readonly endedReason: string | null
}

export type LoginMethod = 'password' | 'oidc'

/** What is asked of a login whenever somebody shows its token. */
export interface LoginState {
  readonly id: string
  readonly userId: string
  readonly userActive: boolean
  readonly accessExpiresAtMs: number
  readonly expiresAtMs: number
  readonly endedAtMs: number | null
}

export const LOGIN_ID = /^[0-9a-f]{32}$/

export class LoginStore {
  private readonly kysely: Kysely<Database>
  private readonly dialect: Dialect

  constructor({ kysely, dialect }: DatabaseHandle) {
    this.kysely = kysely
    this.dialect = dialect
  }

  async insert(login: Login, accessExpiresAtMs: number, transaction: Transaction<Database>): Promise<void> {
    await transaction
      .insertInto('login_sessions')
      .values({
        id: login.id,
        user_id: login.userId,
        method: login.method,
        address: login.address,
        user_agent: login.userAgent,
        created_at_ms: login.createdAtMs,
        refreshed_at_ms: login.refreshedAtMs,
        access_expires_at_ms: accessExpiresAtMs,
        expires_at_ms: login.expiresAtMs,
        revoked_at_ms: null,
        revoked_reason: null,
      })
      .execute()
    await transaction
      .updateTable('users')
      .set({ last_login_at_ms: login.createdAtMs })
      .where('id', '=', login.userId)
      .execute()
  }

  async insertToken(hash: string, sessionId: string, nowMs: number, transaction: Transaction<Database>): Promise<void> {
    await transaction
      .insertInto('refresh_tokens')
      .values({ secret_hash: hash, session_id: sessionId, created_at_ms: nowMs, used_at_ms: null })
      .execute()
  }

  /** Of any number of uses at once, on any number of cores, one gets `first`. */
  async useToken(
    hash: string,
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<{ readonly loginId: string; readonly first: boolean } | null> {
    const used = await transaction
      .updateTable('refresh_tokens')
      .set({ used_at_ms: nowMs })
      .where('secret_hash', '=', hash)
      .where('used_at_ms', 'is', null)
      .returning('session_id')
      .executeTakeFirst()
    if (used !== undefined) return { loginId: used.session_id, first: true }
    const known = transaction.selectFrom('refresh_tokens').select('session_id').where('secret_hash', '=', hash)
    const again = await known.executeTakeFirst()
    return again === undefined ? null : { loginId: again.session_id, first: false }
  }

  /** Which login a token is of, used or not. */
  async loginOfToken(hash: string): Promise<Pick<Login, 'id' | 'userId'> | null> {
    const known = this.kysely
      .selectFrom('refresh_tokens')
      .innerJoin('login_sessions', 'login_sessions.id', 'refresh_tokens.session_id')
      .select(['login_sessions.id', 'login_sessions.user_id as userId'])
      .where('secret_hash', '=', hash)
    return (await known.executeTakeFirst()) ?? null
  }

  /** The login, kept from changing until the transaction ends. */
  async lock(id: string, transaction: Transaction<Database>): Promise<Login | null> {
    const row = await transaction
      .selectFrom('login_sessions')
      .selectAll()
      .where('id', '=', id)
      .$if(this.dialect === 'postgres', (query) => query.forUpdate())
      .executeTakeFirst()
    return row === undefined ? null : toLogin(row)
  }

  async refreshed(
    id: string,
    times: { readonly nowMs: number; readonly accessExpiresAtMs: number; readonly expiresAtMs: number },
    transaction: Transaction<Database>,
  ): Promise<void> {
    await transaction
      .updateTable('login_sessions')
      .set({
        refreshed_at_ms: times.nowMs,
        access_expires_at_ms: times.accessExpiresAtMs,
        expires_at_ms: times.expiresAtMs,
      })
      .where('id', '=', id)
      .execute()
  }

  /**
   * Ends the logins of `which` that go on; a login that has ended stays as it is.
   * @returns how many.
   */
  async end(
    which: { readonly id?: string; readonly userId?: string; readonly except?: string | null },
    reason: string,
    nowMs: number,
    queries: Kysely<Database> | Transaction<Database> = this.kysely,
  ): Promise<number> {
    const { id, userId, except = null } = which
    let query = queries
      .updateTable('login_sessions')
      .set({ revoked_at_ms: nowMs, revoked_reason: reason })
      .where('revoked_at_ms', 'is', null)
    if (id !== undefined) query = query.where('id', '=', id)
    if (userId !== undefined) query = query.where('user_id', '=', userId)
    if (except !== null) query = query.where('id', '!=', except)
    return Number((await query.executeTakeFirst()).numUpdatedRows)
  }

  /** Of those that go on, all but the `count` that were opened last, ended. */
  async keepNewest(userId: string, count: number, nowMs: number, transaction: Transaction<Database>): Promise<void> {
    const older = await transaction
      .selectFrom('login_sessions')
      .select('id')
      .where('user_id', '=', userId)
      .where('revoked_at_ms', 'is', null)
      .where('expires_at_ms', '>', nowMs)
      .orderBy('created_at_ms', 'desc')
      .orderBy('id', 'desc')
      .offset(count)
      .limit(1_000)
      .execute()
    for (const { id } of older) await this.end({ id }, 'too many logins of one user', nowMs, transaction)
  }

  /** Those that go on, the newest first. */
  async list(userId: string, request: PageRequest, nowMs: number): Promise<Page<Login>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    let query = this.kysely
      .selectFrom('login_sessions')
      .selectAll()
      .where('user_id', '=', userId)
      .where('revoked_at_ms', 'is', null)
      .where('expires_at_ms', '>', nowMs)
      .orderBy('created_at_ms', 'desc')
      .orderBy('id', 'desc')
      .limit(limit + 1)
    if (after !== null) query = query.where(olderThan(after, request.cursor, LOGIN_ID))
    return toPage(await query.execute(), limit, newestFirstKey, toLogin)
  }

  async states(ids: readonly string[]): Promise<readonly LoginState[]> {
    const rows = await this.kysely
      .selectFrom('login_sessions')
      .innerJoin('users', 'users.id', 'login_sessions.user_id')
      .select(['login_sessions.id', 'user_id', 'status', 'access_expires_at_ms', 'expires_at_ms', 'revoked_at_ms'])
      .where(sql<boolean>`login_sessions.id in ${givenTexts(this.dialect, ids)}`)
      .execute()
    return rows.map((row) => ({
      id: row.id,
      userId: row.user_id,
      userActive: row.status === 'active',
      accessExpiresAtMs: row.access_expires_at_ms,
      expiresAtMs: row.expires_at_ms,
      endedAtMs: row.revoked_at_ms,
    }))
  }

  /** Forgets logins that were over before `beforeMs`, and tokens used before `usedBeforeMs`. */
  async purge(beforeMs: number, usedBeforeMs: number): Promise<void> {
    const over = this.kysely
      .selectFrom('login_sessions')
      .select('id')
      .where(({ or, eb }) => or([eb('revoked_at_ms', '<', beforeMs), eb('expires_at_ms', '<', beforeMs)]))
    await this.kysely.deleteFrom('refresh_tokens').where('session_id', 'in', over).execute()
    await this.kysely.deleteFrom('refresh_tokens').where('used_at_ms', '<', usedBeforeMs).execute()
    await this.kysely.deleteFrom('login_sessions').where('id', 'in', over).execute()
  }
}

function toLogin(row: Selectable<LoginSessionsTable>): Login {
  return {
    id: row.id,
    userId: row.user_id,
    method: row.method as LoginMethod,
    address: row.address,
    userAgent: row.user_agent,
    createdAtMs: row.created_at_ms,
    refreshedAtMs: row.refreshed_at_ms,
    expiresAtMs: row.expires_at_ms,
    endedAtMs: row.revoked_at_ms,
    endedReason: row.revoked_reason,
  }
}
