/**
 * Logins: opened when somebody has proven who they are, kept alive by refresh tokens each of which is good once, and ended. A
 * refresh token that comes twice was stolen from one of the two who sent it: nobody can tell which, so the login ends.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { storableReason } from '../database/stored-text.ts'
import type { Page, PageRequest } from '../registry/page.ts'
import type { AccessTokens } from './access-token.ts'
import { IdentityError } from './errors.ts'
import { LOGIN_ID, type Login, type LoginMethod, LoginStore } from './login-store.ts'
import { newSecret, secretHash, secretPattern } from './secrets.ts'
import type { SecurityNotes } from './security-events.ts'
import type { User } from './user.ts'
import { UserStore } from './user-store.ts'

export interface LoginSettings {
  readonly accessTokenMs: number
  readonly refreshTokenDays: number
  readonly loginDaysMax: number
}

/** The device that somebody logs in on. */
export interface LoginClient {
  readonly address: string | null
  readonly userAgent: string | null
}

/** What whoever logged in is given, and nobody else ever sees. */
export interface LoginTokens {
  readonly loginId: string
  readonly accessToken: string
  /** When the access token ends, Unix milliseconds. */
  readonly expiresAtMs: number
  readonly refreshToken: string
  /** When the refresh token ends if it is not used. */
  readonly refreshExpiresAtMs: number
  readonly user: User
}

export interface LoginsOptions {
  readonly database: DatabaseHandle
  readonly tokens: AccessTokens
  readonly events: SecurityNotes
  readonly settings: LoginSettings
  readonly clock: Clock
  readonly random: Random
  /** Called after what may end a login here: what is remembered of who may do what is no longer good. */
  readonly onChange: () => void
}

const REFRESH_PREFIX = 'bbr_'
const REFRESH_TOKEN = secretPattern(REFRESH_PREFIX)
/** Of one user at one time; at the limit the oldest ends. */
const LOGINS_MAX = 100
/** How long it can be seen why a login ended. */
const KEPT_MS = 30 * DAY_MS

export class Logins {
  private readonly options: LoginsOptions
  private readonly store: LoginStore
  private readonly users: UserStore
  private readonly counts = { opened: 0, refreshed: 0, reused: 0 }

  constructor(options: LoginsOptions) {
    this.options = options
    this.store = new LoginStore(options.database)
    this.users = new UserStore(options.database)
  }

  /**
   * Opens a login of a user who has just proven who they are.
   * @param prove rejects when what they have shown is no longer good; the user is kept from changing meanwhile.
   * @throws IdentityError UNAUTHENTICATED when there is no such user, or none that may log in.
   */
  async open(
    userId: string,
    method: LoginMethod,
    client: LoginClient,
    prove?: (transaction: Transaction<Database>) => Promise<void>,
  ): Promise<LoginTokens> {
    const { database, random } = this.options
    const nowMs = this.nowMs()
    const refreshToken = newSecret(REFRESH_PREFIX, random)
    const times = this.times(nowMs, nowMs)
    const loginId = randomHex(random, 16)
    const user = await database.transaction(async (transaction) => {
      const found = await this.users.lock(userId, transaction)
      if (found === null || found.status !== 'active') throw loginOver()
      await prove?.(transaction)
      const login: Login = {
        ...{ id: loginId, userId, method, address: client.address, userAgent: storableReason(client.userAgent) },
        ...{ createdAtMs: nowMs, refreshedAtMs: nowMs, expiresAtMs: times.expiresAtMs },
        ...{ endedAtMs: null, endedReason: null },
      }
      await this.store.keepNewest(userId, LOGINS_MAX - 1, nowMs, transaction)
      await this.store.insert(login, times.accessExpiresAtMs, transaction)
      await this.store.insertToken(secretHash(refreshToken), loginId, nowMs, transaction)
      return { ...found, lastLoginAtMs: nowMs }
    })
    this.counts.opened++
    return await this.tokensOf(user, loginId, times, refreshToken)
  }

  /**
   * New tokens for a refresh token, which is used up.
   * @param address of whoever sends it, for what is told when it comes twice.
   * @throws IdentityError UNAUTHENTICATED
   */
  async refresh(refreshToken: string, address: string): Promise<LoginTokens> {
    const { database, random } = this.options
    if (!REFRESH_TOKEN.test(refreshToken)) throw loginOver()
    const next = newSecret(REFRESH_PREFIX, random)
    const nowMs = this.nowMs()
    // What is thrown within would undo that a stolen login ends.
    const outcome = await database.transaction(async (transaction) => {
      const used = await this.store.useToken(secretHash(refreshToken), nowMs, transaction)
      if (used === null) return null
      const login = await this.store.lock(used.loginId, transaction)
      if (login === null) return null
      const reused = !used.first
      const goesOn = login.endedAtMs === null && login.expiresAtMs > nowMs
      if (reused) {
        if (goesOn) await this.store.end({ id: login.id }, 'refresh token sent twice', nowMs, transaction)
        return { login, reused, goesOn }
      }
      const user = await this.users.get(login.userId, transaction)
      if (!goesOn || user === null || user.status !== 'active') return null
      const times = this.times(nowMs, login.createdAtMs)
      await this.store.insertToken(secretHash(next), login.id, nowMs, transaction)
      await this.store.refreshed(login.id, { nowMs, ...times }, transaction)
      return { login, reused, user, times }
    })
    if (outcome === null) throw loginOver()
    const { login } = outcome
    if (outcome.user === undefined) {
      this.counts.reused++
      if (outcome.goesOn) this.noteTheft(login, address)
      throw loginOver()
    }
    this.counts.refreshed++
    return await this.tokensOf(outcome.user, login.id, outcome.times, next)
  }

  /** Ends the login of a refresh token, used or not, and says which that is; null for one that nobody knows, which is no error. */
  async endByToken(refreshToken: string): Promise<Pick<Login, 'id' | 'userId'> | null> {
    if (!REFRESH_TOKEN.test(refreshToken)) return null
    const login = await this.store.loginOfToken(secretHash(refreshToken))
    if (login !== null) await this.end(login.id, 'logged out')
    return login
  }

  async end(id: string, reason: string): Promise<void> {
    await this.store.end({ id }, reason, this.nowMs())
    this.options.onChange()
  }

  /** False when the user has no such login that goes on. */
  async endOwn(userId: string, id: string): Promise<boolean> {
    if (!LOGIN_ID.test(id)) return false
    const ended = await this.store.end({ id, userId }, 'ended by the user', this.nowMs())
    this.options.onChange()
    return ended > 0
  }

  /** Logins of a user that go on, the newest first. */
  async list(userId: string, request: PageRequest): Promise<Page<Login>> {
    return await this.store.list(userId, request, this.nowMs())
  }

  /** Since the start. */
  stats(): { readonly opened: number; readonly refreshed: number; readonly reused: number } {
    return { ...this.counts }
  }

  async purge(): Promise<void> {
    const nowMs = this.nowMs()
    const unusedMs = this.options.settings.refreshTokenDays * DAY_MS
    await this.store.purge(nowMs - KEPT_MS, nowMs - unusedMs)
  }

  private async tokensOf(
    user: User,
    loginId: string,
    times: { readonly accessExpiresAtMs: number; readonly expiresAtMs: number },
    refreshToken: string,
  ): Promise<LoginTokens> {
    const { accessExpiresAtMs, expiresAtMs } = times
    const accessToken = await this.options.tokens.issue({ userId: user.id, loginId }, accessExpiresAtMs)
    return { loginId, accessToken, expiresAtMs: accessExpiresAtMs, refreshToken, refreshExpiresAtMs: expiresAtMs, user }
  }

  /** Ends of the access token, at a whole second, and of the login when it is not used; neither outlasts the login's end. */
  private times(nowMs: number, openedAtMs: number): { accessExpiresAtMs: number; expiresAtMs: number } {
    const { accessTokenMs, refreshTokenDays, loginDaysMax } = this.options.settings
    const expiresAtMs = Math.min(nowMs + refreshTokenDays * DAY_MS, openedAtMs + loginDaysMax * DAY_MS)
    const accessExpiresAtMs = Math.floor(Math.min(nowMs + accessTokenMs, expiresAtMs) / 1000) * 1000
    return { accessExpiresAtMs, expiresAtMs }
  }

  private noteTheft({ id, userId }: Login, address: string): void {
    this.options.onChange()
    const detail = `A refresh token of the login ${id} came a second time; all of that login has ended.`
    this.options.events.note({ kind: 'refresh-token-reused', subject: userId, detail, address })
  }

  private nowMs(): number {
    return Math.round(this.options.clock.wallMs())
  }
}

/** The same words for a token that nobody knows, one that is over, and one that came twice. */
function loginOver(): IdentityError {
  return new IdentityError('UNAUTHENTICATED', 'This login has ended.', { code: 'LOGIN_ENDED', hint: 'Log in again.' })
}
