/** Logging in with a password, and choosing another one: by the old one, or by a link that an administrator made. */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { Caller } from './caller.ts'
import { IdentityError } from './errors.ts'
import type { Attempt, Lockout } from './lockout.ts'
import { LoginStore } from './login-store.ts'
import type { LoginClient, Logins, LoginTokens } from './logins.ts'
import type { OneTimeLinks } from './one-time-links.ts'
import type { Passwords } from './passwords.ts'
import type { SecurityNotes } from './security-events.ts'
import { UserStore } from './user-store.ts'

export interface PasswordLoginsOptions {
  readonly database: DatabaseHandle
  readonly logins: Logins
  readonly passwords: Passwords
  readonly lockout: Lockout
  readonly links: OneTimeLinks
  readonly events: SecurityNotes
  readonly clock: Clock
  readonly log: Logger
  /** Called after what may end a login here. */
  readonly onChange: () => void
}

export class PasswordLogins {
  private readonly options: PasswordLoginsOptions
  private readonly users: UserStore
  private readonly loginStore: LoginStore
  private failures = 0

  constructor(options: PasswordLoginsOptions) {
    this.options = options
    this.users = new UserStore(options.database)
    this.loginStore = new LoginStore(options.database)
  }

  /**
   * Whether there is no such user, the password is wrong, or the user is disabled: the answer has the same words, and takes as long.
   * @throws IdentityError UNAUTHENTICATED, TOO_MANY_REQUESTS
   */
  async login(userId: string, password: string, client: LoginClient): Promise<LoginTokens> {
    if (!(await this.isPasswordOf(userId, password, client.address ?? ''))) throw loginFailed()
    return await this.options.logins.open(userId, 'password', client)
  }

  /**
   * For whoever is logged in. All other logins of the user end.
   * @throws InvalidRegistrationError; IdentityError FORBIDDEN, TOO_MANY_REQUESTS
   */
  async change(caller: Caller, current: string, password: string, address: string): Promise<void> {
    const { passwords } = this.options
    passwords.checkNew(password, caller.id)
    if (!(await this.isPasswordOf(caller.id, current, address))) {
      throw new IdentityError('FORBIDDEN', 'The current password is another one.', {
        code: 'PASSWORD_WRONG',
        hint: 'Who has forgotten the password asks an administrator for a link.',
      })
    }
    const hash = await passwords.hash(password)
    await this.options.database.transaction(async (transaction) => {
      await this.storePassword(caller.id, hash, caller.credentialId, transaction)
    })
    this.changed(caller.id)
  }

  /**
   * By a one-time link. All logins of the user end.
   * @returns the user.
   * @throws InvalidRegistrationError, which leaves the link good; IdentityError UNAUTHENTICATED, TOO_MANY_REQUESTS
   */
  async choose(token: string, password: string, address: string): Promise<string> {
    const { database, lockout, links, passwords } = this.options
    const attempt = await lockout.attempt(null, address)
    // Looked at first, so that nobody makes this core hash passwords without a link.
    const userId = await links.peek('password', token)
    if (typeof userId !== 'string') throw this.linkRefused(attempt, address)
    await attempt.succeeded()
    passwords.checkNew(password, userId)
    const hash = await passwords.hash(password)
    const chosen = await database.transaction(async (transaction) => {
      const user = await this.users.lock(userId, transaction)
      if (user === null || user.status !== 'active') return false
      if (!(await links.use('password', token, transaction))) return false
      await this.storePassword(userId, hash, null, transaction)
      await lockout.forgive(userId, transaction)
      return true
    })
    if (!chosen) throw this.linkRefused(null, address)
    this.changed(userId)
    return userId
  }

  /** Wrong passwords since the start. */
  stats(): { readonly failures: number } {
    return { failures: this.failures }
  }

  private async isPasswordOf(userId: string, password: string, address: string): Promise<boolean> {
    const { lockout, passwords } = this.options
    const attempt = await lockout.attempt(userId, address)
    const stored = await this.users.passwordOf(userId)
    const hash = stored?.active === true ? stored.hash : null
    const matches = await passwords.verify(password, hash).catch(async (error: unknown) => {
      await attempt.dropped()
      throw error
    })
    if (!matches || hash === null) {
      this.failures++
      attempt.failed()
      return false
    }
    await attempt.succeeded()
    if (passwords.isOutdated(hash)) await this.users.rehash(userId, hash, await passwords.hash(password))
    return true
  }

  private async storePassword(
    userId: string,
    hash: string,
    exceptLogin: string | null,
    transaction: Transaction<Database>,
  ): Promise<void> {
    const nowMs = Math.round(this.options.clock.wallMs())
    await this.users.setPassword(userId, hash, nowMs, transaction)
    await this.options.links.voidAll('password', userId, transaction)
    await this.loginStore.end({ userId, except: exceptLogin }, 'password changed', nowMs, transaction)
  }

  private changed(userId: string): void {
    this.options.onChange()
    this.options.log.info({ user: userId }, 'password changed')
  }

  private linkRefused(attempt: Attempt | null, address: string): IdentityError {
    attempt?.failed()
    const detail = 'Somebody came with a link to choose a password that is unknown, used or over.'
    this.options.events.note({ kind: 'link-refused', subject: 'password', detail, address })
    return new IdentityError('UNAUTHENTICATED', 'This link is no longer good.', {
      code: 'LINK_INVALID',
      hint: 'Ask an administrator for a new one: busbar-cloud user password-link.',
    })
  }
}

function loginFailed(): IdentityError {
  return new IdentityError('UNAUTHENTICATED', 'The user id or the password is wrong.', {
    code: 'LOGIN_FAILED',
    hint: 'Who has forgotten the password asks an administrator for a link.',
  })
}
