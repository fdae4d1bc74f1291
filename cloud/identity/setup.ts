/**
 * The first administrator. There is no default password: while nobody can administer everything, each core that starts prints a
 * link, and whoever can read what it prints makes the first user by it.
 */

import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { isDuplicate } from '../database/failure.ts'
import { IdentityError } from './errors.ts'
import type { Lockout } from './lockout.ts'
import type { OneTimeLink, OneTimeLinks } from './one-time-links.ts'
import type { Passwords } from './passwords.ts'
import type { SecurityNotes } from './security-events.ts'
import { checkChanges, checkUserId, type User } from './user.ts'
import { UserStore } from './user-store.ts'

export interface FirstUser {
  readonly token: string
  readonly userId: string
  readonly password: string
  readonly name?: string | null | undefined
}

export interface SetupOptions {
  readonly database: DatabaseHandle
  readonly links: OneTimeLinks
  readonly passwords: Passwords
  readonly lockout: Lockout
  readonly events: SecurityNotes
  readonly clock: Clock
  readonly log: Logger
}

export class Setup {
  private readonly options: SetupOptions
  private readonly users: UserStore

  constructor(options: SetupOptions) {
    this.options = options
    this.users = new UserStore(options.database)
  }

  /**
   * A new link to print, never to log; null when somebody can administer everything. Links of other cores stay good: the first
   * that is used voids them.
   */
  async ensureSetupLink(): Promise<OneTimeLink | null> {
    const { database, links } = this.options
    return await database.transaction(async (transaction) => {
      if ((await this.users.countAdministrators(transaction)) > 0) return null
      return await links.make('setup', { userId: null, madeBy: null }, transaction)
    })
  }

  /**
   * Makes the first administrator.
   * @throws InvalidRegistrationError and IdentityError CONFLICT, which leave the link good; UNAUTHENTICATED, TOO_MANY_REQUESTS
   */
  async setUp({ token, userId, password, name = null }: FirstUser, address: string): Promise<User> {
    const { database, links, passwords, lockout, clock, log, events } = this.options
    const attempt = await lockout.attempt(null, address)
    // Looked at first, so that nobody makes this core hash passwords without a link.
    if ((await links.peek('setup', token)) === undefined) {
      attempt.failed()
      throw this.refused(address)
    }
    await attempt.succeeded()
    checkUserId(userId)
    checkChanges({ name })
    passwords.checkNew(password, userId)
    const passwordHash = await passwords.hash(password)
    const user = await this.orTaken(userId, () =>
      database.transaction(async (transaction) => {
        if (!(await links.use('setup', token, transaction))) return null
        if ((await this.users.countAdministrators(transaction)) > 0) return null
        const row = { id: userId, name, email: null, passwordHash, oidcSubject: null }
        await this.users.insert(row, [{ role: 'admin', siteId: 'all' }], Math.round(clock.wallMs()), transaction)
        return await this.users.get(userId, transaction)
      }),
    )
    if (user === null) throw this.refused(address)
    log.info({ user: userId }, 'set up: the first administrator has been made')
    const detail = 'This user set up Busbar, and can administer everything.'
    events.note({ kind: 'administrator-made', subject: userId, detail, address })
    return user
  }

  private async orTaken<T>(userId: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (!isDuplicate(error)) throw error
      throw new IdentityError('CONFLICT', `There is a user ${userId} already.`, {
        code: 'USER_EXISTS',
        hint: 'Choose another id.',
      })
    }
  }

  private refused(address: string): IdentityError {
    const detail = 'Somebody came with a set-up link that is unknown, used or over.'
    this.options.events.note({ kind: 'link-refused', subject: 'setup', detail, address })
    return new IdentityError('UNAUTHENTICATED', 'This set-up link is no longer good.', {
      code: 'LINK_INVALID',
      hint: 'While nobody has been set up, each start of busbar-cloud prints a new one.',
    })
  }
}
