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
import { sitesWith } from './roles.ts'
import type { SecurityNotes } from './security-events.ts'
import { seesUser, type User } from './user.ts'
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
    const hash = await this.provenHash(userId, password, client.address ?? '')
    if (hash === null) throw loginFailed()
    return await this.options.logins.open(userId, 'password', client, async (transaction) => {
      if (!(await this.isStill(hash, userId, transaction))) throw loginFailed()
    })
  }

  /**
   * For whoever is logged in. All other logins of the user end.
   * @throws InvalidRegistrationError; IdentityError FORBIDDEN, TOO_MANY_REQUESTS
   */
  async change(caller: Caller, current: string, password: string, address: string): Promise<void> {
    const { passwords } = this.options
    passwords.checkNew(password, caller.id)
    const before = await this.provenHash(caller.id, current, address)
    if (before === null) throw passwordWrong()
    const hash = await passwords.hash(password)
    await this.options.database.transaction(async (transaction) => {
      await this.users.lock(caller.id, transaction)
      if (!(await this.isStill(before, caller.id, transaction))) throw passwordWrong()
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
      if (!(await this.isStillGiven(token, user, transaction))) return false
      if (!(await links.use('password', token, transaction))) return false
      await this.storePassword(userId, hash, null, transaction)
      await lockout.forgive(userId, transaction)
      return true
    })
    if (!chosen) throw this.linkRefused(null, address)
    this.changed(userId)
    return userId
  }

  /** For what is recorded of an attempt, and no answer: false also while that cannot be known. */
  async isUser(userId: string): Promise<boolean> {
    return (await this.users.passwordOf(userId).catch(() => null)) !== null
  }

  /** Wrong passwords since the start. */
  stats(): { readonly failures: number } {
    return { failures: this.failures }
  }

  /** Who made the link could make it now: a link is worth no more than who answers for it. */
  private async isStillGiven(token: string, user: User, transaction: Transaction<Database>): Promise<boolean> {
    const madeBy = await this.options.links.madeBy(token, transaction)
    if (madeBy === null) return true
    const maker = await this.users.get(madeBy, transaction)
    return maker?.status === 'active' && seesUser(sitesWith(maker.grants, 'admin'), user.grants)
  }

  /** What stands for the password, if it is the user's; null otherwise. */
  private async provenHash(userId: string, password: string, address: string): Promise<string | null> {
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
      return null
    }
    await attempt.succeeded()
    if (!passwords.isOutdated(hash)) return hash
    const renewed = await passwords.hash(password)
    await this.users.rehash(userId, hash, renewed)
    return renewed
  }

  /** Another one may have been chosen while this one was being looked at: that ended what the old one opened. */
  private async isStill(hash: string, userId: string, transaction: Transaction<Database>): Promise<boolean> {
    return (await this.users.passwordOf(userId, transaction))?.hash === hash
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

function passwordWrong(): IdentityError {
  return new IdentityError('FORBIDDEN', 'The current password is another one.', {
    code: 'PASSWORD_WRONG',
    hint: 'Who has forgotten the password asks an administrator for a link.',
  })
}

function loginFailed(): IdentityError {
  return new IdentityError('UNAUTHENTICATED', 'The user id or the password is wrong.', {
    code: 'LOGIN_FAILED',
    hint: 'Who has forgotten the password asks an administrator for a link.',
  })
}
