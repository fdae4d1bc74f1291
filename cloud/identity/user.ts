/** A person who may log in, what may be said of one, and who may change whom. Pure. */

import { USER_ID_PATTERN } from '../notifications/notifications.ts'
import { type InvalidField, InvalidRegistrationError } from '../registry/errors.ts'
import { includesSite, type SiteScope } from '../registry/site-scope.ts'
import type { Caller } from './caller.ts'
import { IdentityError } from './errors.ts'
import type { Grant } from './roles.ts'

export const USER_STATUSES = ['active', 'disabled'] as const
export type UserStatus = (typeof USER_STATUSES)[number]

export interface User {
  /** As it is recorded with what the user does; stays for ever. */
  readonly id: string
  readonly name: string | null
  readonly email: string | null
  readonly status: UserStatus
  /** Whether there is a password to log in with. */
  readonly hasPassword: boolean
  /** `issuer subject` of the identity provider where the user logs in; null for none. */
  readonly oidcSubject: string | null
  /** By role, then site. */
  readonly grants: readonly Grant[]
  readonly createdAtMs: number
  readonly updatedAtMs: number
  readonly lastLoginAtMs: number | null
}

export interface UserChanges {
  readonly name?: string | null | undefined
  readonly email?: string | null | undefined
  readonly status?: UserStatus | undefined
  /** Instead of those there are. */
  readonly grants?: readonly Grant[] | undefined
}

/** More would be a role everywhere, said badly. */
export const GRANTS_MAX = 1_000
const NAME_CHARS_MAX = 200
const EMAIL_CHARS_MAX = 254
const ADDRESS_CHARACTER = '[^\\s@<>(),;:"\\\\\\x00-\\x1f\\x7f]'
/** One address, roughly: nothing is ever sent there without somebody reading it first. */
export const EMAIL_PATTERN = new RegExp(`^${ADDRESS_CHARACTER}{1,64}@${ADDRESS_CHARACTER}{1,189}$`)
/** Names under which the programs themselves record what they do. */
const RESERVED = /^(api-key:.*|local|cloud|system|busbar|anonymous|gateway:.*)$/i

/** @throws InvalidRegistrationError */
export function checkUserId(id: string): void {
  if (USER_ID_PATTERN.test(id) && !RESERVED.test(id)) return
  const remedy = '1 to 128 letters, digits, ".", "_", "@", ":" or "-", and none of the names that Busbar uses itself'
  throw new InvalidRegistrationError([{ field: 'id', value: id, remedy }])
}

/** @throws InvalidRegistrationError */
export function checkChanges({ name, email, grants }: UserChanges): void {
  const invalid: InvalidField[] = []
  if (typeof name === 'string' && (name.trim() !== name || name === '' || /\p{Cc}/u.test(name))) {
    invalid.push({ field: 'name', value: name, remedy: 'text on one line, without blanks at either end' })
  } else if (typeof name === 'string' && name.length > NAME_CHARS_MAX) {
    invalid.push({ field: 'name', value: name, remedy: `at most ${NAME_CHARS_MAX} characters` })
  }
  if (typeof email === 'string' && (!EMAIL_PATTERN.test(email) || email.length > EMAIL_CHARS_MAX)) {
    invalid.push({ field: 'email', value: email, remedy: 'an e-mail address' })
  }
  if (grants !== undefined && grants.length > GRANTS_MAX) {
    invalid.push({ field: 'grants', value: grants.length, remedy: `at most ${GRANTS_MAX}` })
  }
  if (invalid.length > 0) throw new InvalidRegistrationError(invalid)
}

/**
 * Whether somebody with a role at `sites` sees a user by it: with it everywhere all of them, otherwise those whose every role
 * is at one of these. A user without roles is nobody's of a site: what is given to him later could be anything.
 */
export function seesUser(sites: SiteScope, grants: readonly Grant[]): boolean {
  if (sites === 'all') return true
  return grants.length > 0 && grants.every(({ siteId }) => siteId !== 'all' && includesSite(sites, siteId))
}

/**
 * That `caller` may make `after` of the roles `before` of the user `userId`.
 * @throws IdentityError FORBIDDEN
 */
export function checkGranting(caller: Caller, userId: string, before: readonly Grant[], after: readonly Grant[]): void {
  const given = added(before, after)
  const sites = caller.sites('admin')
  // Who administers a site gives no role anywhere else, and takes none away there either.
  const elsewhere = [...given, ...added(after, before)].filter(({ siteId }) => {
    return siteId === 'all' ? sites !== 'all' : !includesSite(sites, siteId)
  })
  if (elsewhere.length > 0) {
    const named = elsewhere.map(grantText).join(', ')
    throw new IdentityError('FORBIDDEN', `You may not give or take ${named}: you are no administrator there.`, {
      code: 'ROLE_MISSING',
      hint: 'Leave that out, or ask an administrator of every site.',
    })
  }
  if (given.length > 0 && caller.kind === 'user' && caller.id === userId) {
    throw new IdentityError('FORBIDDEN', 'Nobody gives roles to themselves.', {
      code: 'OWN_ROLES',
      hint: 'Ask another administrator.',
    })
  }
  if (sites !== 'all' && after.length === 0) {
    throw new IdentityError('FORBIDDEN', 'A user without any role belongs to the administrators of every site.', {
      code: 'ROLE_MISSING',
      hint: 'Disable the user instead, or ask an administrator of every site.',
    })
  }
}

/** As the command line writes it: `operator@1`, or `admin` for every site. */
export function grantText({ role, siteId }: Grant): string {
  return siteId === 'all' ? role : `${role}@${siteId}`
}

/** Each once, by role and site. */
export function distinctGrants(grants: readonly Grant[]): Grant[] {
  return [...new Map(grants.map((grant) => [grantText(grant), grant])).values()]
}

/** Those of `after` that `before` does not have. */
function added(before: readonly Grant[], after: readonly Grant[]): Grant[] {
  const known = new Set(before.map(grantText))
  return after.filter((grant) => !known.has(grantText(grant)))
}

export function isAdministrator(grants: readonly Grant[]): boolean {
  return grants.some(({ role, siteId }) => role === 'admin' && siteId === 'all')
}
