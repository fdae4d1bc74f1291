/**
 * Users as administrators see and change them. Two rules hold whatever happens on however many cores: somebody can always
 * administer everything, and nobody gives what is not theirs to give.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { isDuplicate } from '../database/failure.ts'
import type { Database } from '../database/schema.ts'
import type { Page, PageRequest } from '../registry/page.ts'
import type { Caller } from './caller.ts'
import { IdentityError } from './errors.ts'
import { LoginStore } from './login-store.ts'
import type { OneTimeLink, OneTimeLinks } from './one-time-links.ts'
import type { Grant } from './roles.ts'
import type { SecurityNotes } from './security-events.ts'
import {
  checkChanges,
  checkGranting,
  checkUserId,
  distinctGrants,
  grantText,
  isAdministrator,
  seesUser,
  type User,
  type UserChanges,
} from './user.ts'
import { UserStore } from './user-store.ts'

export interface NewUser {
  readonly id: string
  readonly name?: string | null | undefined
  readonly email?: string | null | undefined
  readonly grants: readonly Grant[]
}

export interface UsersOptions {
  readonly database: DatabaseHandle
  readonly links: OneTimeLinks
  readonly events: SecurityNotes
  readonly clock: Clock
  readonly log: Logger
  /** Called after what may change what somebody may do. */
  readonly onChange: () => void
}

export type StoreAnswer = (user: User, transaction: Transaction<Database>) => Promise<void>

export class Users {
  private readonly options: UsersOptions
  private readonly store: UserStore
  private readonly logins: LoginStore

  constructor(options: UsersOptions) {
    this.options = options
    this.store = new UserStore(options.database)
    this.logins = new LoginStore(options.database)
  }

  /** By id; those that the caller sees by the role auditor, which administrators have. */
  async list(request: PageRequest, caller: Caller): Promise<Page<User>> {
    return await this.store.list(request, caller.sites('auditor'))
  }

  /** What somebody may do at present; nothing where there is no such user, or one who is disabled. */
  async grantsOf(id: string): Promise<readonly Grant[]> {
    const user = await this.store.get(id)
    return user?.status === 'active' ? user.grants : []
  }

  /** Null when there is none, or none that the caller sees by having `role`. */
  async get(id: string, caller: Caller, role: 'auditor' | 'admin' = 'auditor'): Promise<User | null> {
    const user = await this.store.get(id)
    return user !== null && seesUser(caller.sites(role), user.grants) ? user : null
  }

  /**
   * The user cannot log in before there is a password, or the identity provider vouches for them.
   * @param answer stores the answer of the request with the user.
   * @throws InvalidRegistrationError; IdentityError FORBIDDEN or CONFLICT
   */
  async create(wanted: NewUser, caller: Caller, answer?: StoreAnswer): Promise<User> {
    const { id, name = null, email = null } = wanted
    const grants = distinctGrants(wanted.grants)
    checkUserId(id)
    checkChanges({ name, email, grants })
    checkGranting(caller, id, [], grants)
    const nowMs = this.nowMs()
    try {
      const user = await this.options.database.transaction(async (transaction) => {
        const row = { id, name, email, passwordHash: null, oidcSubject: null }
        await this.store.insert(row, grants, nowMs, transaction)
        const made = (await this.store.get(id, transaction)) as User
        await answer?.(made, transaction)
        return made
      })
      this.changed('user made', user, [], caller)
      return user
    } catch (error) {
      if (!isDuplicate(error)) throw error
      throw new IdentityError('CONFLICT', `There is a user ${id} already.`, {
        code: 'USER_EXISTS',
        hint: 'Change that one, or choose another id.',
      })
    }
  }

  /**
   * Who is disabled is logged out at once; open sockets end within `identity.recheckMs`.
   * @returns null when there is no such user, or none that the caller administers.
   * @throws InvalidRegistrationError; IdentityError FORBIDDEN, or CONFLICT for the last administrator
   */
  async change(id: string, changes: UserChanges, caller: Caller): Promise<User | null> {
    checkChanges(changes)
    const { grants } = changes
    return await this.changing(id, caller, () => {
      return { ...changes, ...(grants === undefined ? {} : { grants: distinctGrants(grants) }) }
    })
  }

  /** As `change`, with roles given and taken instead of all replaced. */
  async grant(
    id: string,
    { give, take }: { readonly give: readonly Grant[]; readonly take: readonly Grant[] },
    caller: Caller,
  ): Promise<User | null> {
    const taken = new Set(take.map(grantText))
    return await this.changing(id, caller, ({ grants: held }) => {
      const grants = distinctGrants([...held.filter((grant) => !taken.has(grantText(grant))), ...give])
      checkChanges({ grants })
      return { grants }
    })
  }

  /**
   * A link by which the user chooses a password, while its maker administers that user; the one before is void.
   * @returns null when there is no such user, or none that the caller administers.
   * @throws IdentityError FORBIDDEN for a program; CONFLICT for a user who is disabled, or logs in at the identity provider.
   */
  async passwordLink(id: string, caller: Caller): Promise<OneTimeLink | null> {
    const { database, links, log } = this.options
    requireNoProgram(caller)
    const link = await database.transaction(async (transaction) => {
      const user = await this.lockVisible(id, caller, transaction)
      if (user === null) return null
      if (user.status !== 'active') {
        throw new IdentityError('CONFLICT', `The user ${id} is disabled.`, {
          code: 'USER_DISABLED',
          hint: 'Enable the user first.',
        })
      }
      // Beside what the provider says, a password would open what it gives one day, unnoticed by whoever logs in there.
      if (user.oidcSubject !== null) {
        throw new IdentityError('CONFLICT', `The user ${id} logs in at the identity provider.`, {
          code: 'USER_OF_PROVIDER',
          hint: 'It needs no password here; a program of theirs uses an API key.',
        })
      }
      return await links.make(
        'password',
        { userId: id, madeBy: caller.kind === 'user' ? caller.id : null },
        transaction,
      )
    })
    if (link !== null) log.info({ user: id, by: caller.id }, 'link to choose a password made')
    return link
  }

  /** Ends every login of the user; null when there is no such user, or none that the caller administers. */
  async endLogins(id: string, caller: Caller): Promise<number | null> {
    const { database, log, onChange } = this.options
    const ended = await database.transaction(async (transaction) => {
      const user = await this.lockVisible(id, caller, transaction)
      if (user === null) return null
      return await this.logins.end({ userId: id }, `ended by ${caller.id}`, this.nowMs(), transaction)
    })
    onChange()
    if (ended !== null) log.info({ user: id, logins: ended, by: caller.id }, 'logins of a user ended')
    return ended
  }

  private async changing(id: string, caller: Caller, decide: (before: User) => UserChanges): Promise<User | null> {
    const nowMs = this.nowMs()
    const outcome = await this.options.database.transaction(async (transaction) => {
      // First, since a user may be one of them: everybody comes to these locks in one order.
      await this.store.lockAdministrators(transaction)
      const before = await this.lockVisible(id, caller, transaction)
      if (before === null) return null
      const { grants = before.grants, name, email, status } = decide(before)
      checkGranting(caller, id, before.grants, grants)
      const given = Object.entries({ name, email, status }).filter(([, value]) => value !== undefined)
      await this.store.update(id, Object.fromEntries(given), nowMs, transaction)
      if (grants !== before.grants) await this.store.replaceGrants(id, grants, transaction)
      const after = (await this.store.get(id, transaction)) as User
      const wasOne = before.status === 'active' && isAdministrator(before.grants)
      const isOne = after.status === 'active' && isAdministrator(after.grants)
      if (wasOne && !isOne && (await this.store.countAdministrators(transaction)) === 0) throw lastAdministrator(id)
      if (after.status === 'disabled') {
        await this.logins.end({ userId: id }, 'user disabled', nowMs, transaction)
        await this.options.links.voidAll('password', id, transaction)
      }
      return { before, after }
    })
    if (outcome === null) return null
    this.changed('user changed', outcome.after, outcome.before.grants, caller)
    return outcome.after
  }

  private async lockVisible(id: string, caller: Caller, transaction: Transaction<Database>): Promise<User | null> {
    const user = await this.store.lock(id, transaction)
    return user !== null && seesUser(caller.sites('admin'), user.grants) ? user : null
  }

  private changed(what: string, user: User, before: readonly Grant[], caller: Caller): void {
    const { log, events, onChange } = this.options
    onChange()
    log.info({ user: user.id, status: user.status, roles: user.grants.map(grantText), by: caller.id }, what)
    if (!isAdministrator(user.grants) || isAdministrator(before)) return
    const detail = `${caller.id} made this user an administrator of everything.`
    events.note({ kind: 'administrator-made', subject: user.id, detail })
  }

  private nowMs(): number {
    return Math.round(this.options.clock.wallMs())
  }
}

/** A key that could make links would become whom it likes: without its scopes, and beyond its end. */
function requireNoProgram({ kind }: Caller): void {
  if (kind !== 'api-key') return
  throw new IdentityError('FORBIDDEN', 'Only a person can let somebody choose a password.', {
    code: 'PERSON_REQUIRED',
    hint: 'Log in as a user: busbar-cloud login.',
  })
}

function lastAdministrator(id: string): IdentityError {
  return new IdentityError('CONFLICT', `${id} is the last who can administer everything.`, {
    code: 'LAST_ADMINISTRATOR',
    hint: 'Give the role admin for every site to somebody else first.',
  })
}
