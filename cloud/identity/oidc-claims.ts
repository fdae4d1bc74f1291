/** What an identity provider says of somebody, read as a user with grants. Pure. */

import { BusbarError } from '../../shared/errors.ts'
import { type Grant, ROLES, type Role } from './roles.ts'

/** By group, as `identity.oidc.roles` has it: `operator@1 operator@2`, `admin`. */
export type RolesByGroup = ReadonlyMap<string, readonly Grant[]>

export interface ClaimNames {
  readonly userClaim: string
  readonly rolesClaim: string
}

export interface ClaimedUser {
  /** Null when the claim is absent or no text. */
  readonly id: string | null
  readonly name: string | null
  readonly email: string | null
  readonly groups: readonly string[]
}

const SITE_ID_MAX = 999_999_999
const NAME_CHARS_MAX = 200

/** @throws BusbarError CONFIG_INVALID */
export function readRolesByGroup(roles: Readonly<Record<string, string>>): RolesByGroup {
  return new Map(Object.entries(roles).map(([group, text]) => [group, readGrants(group, text)]))
}

function readGrants(group: string, text: string): Grant[] {
  const words = text.split(/[\s,]+/).filter((word) => word !== '')
  if (words.length === 0) throw wrongRole(group, text)
  return words.map((word) => {
    const [, role, site] = /^([a-z]+)(?:@(\d{1,9}))?$/.exec(word) ?? []
    const siteId = site === undefined ? 'all' : Number(site)
    const isSite = siteId === 'all' || (siteId >= 1 && siteId <= SITE_ID_MAX)
    if (role === undefined || !isSite || !ROLES.includes(role as Role)) throw wrongRole(group, word)
    return { role: role as Role, siteId }
  })
}

function wrongRole(group: string, word: string): BusbarError {
  return new BusbarError(`the group "${group}" cannot have the role "${word}"`, {
    code: 'CONFIG_INVALID',
    hint: `Give ${ROLES.join(', ')}, each by itself for every site or with @ and the id of a site, such as operator@1.`,
  })
}

export function readClaims(claims: Readonly<Record<string, unknown>>, names: ClaimNames): ClaimedUser {
  return {
    id: textOf(claimed(claims, names.userClaim)),
    name: textOf(claims.name)?.slice(0, NAME_CHARS_MAX) ?? null,
    email: textOf(claims.email)?.slice(0, NAME_CHARS_MAX) ?? null,
    groups: textsOf(claimed(claims, names.rolesClaim)),
  }
}

/** Whether everything that is needed is there, so that nobody needs to be asked for more. */
export function hasClaims(claims: Readonly<Record<string, unknown>>, names: ClaimNames): boolean {
  return [names.userClaim, names.rolesClaim].every((name) => claimed(claims, name) !== undefined)
}

/** What the groups give together. */
export function grantsOfGroups(groups: readonly string[], roles: RolesByGroup): Grant[] {
  const grants = groups.flatMap((group) => roles.get(group) ?? [])
  return [...new Map(grants.map((grant) => [`${grant.role}@${grant.siteId}`, grant])).values()]
}

/** A claim by its name, or by the path to it, such as realm_access.roles. */
function claimed(claims: Readonly<Record<string, unknown>>, name: string): unknown {
  if (Object.hasOwn(claims, name)) return claims[name]
  let value: unknown = claims
  for (const part of name.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined
    value = (value as Record<string, unknown>)[part]
  }
  return value
}

function textOf(value: unknown): string | null {
  if (typeof value !== 'string' || value.trim() === '' || !value.isWellFormed()) return null
  // Neither database nor log is a place for what steers a terminal.
  return /\p{Cc}/u.test(value) ? null : value.trim()
}

function textsOf(value: unknown): string[] {
  if (typeof value === 'string') return value.split(/[\s,]+/).filter((each) => each !== '')
  return Array.isArray(value) ? value.filter((each): each is string => typeof each === 'string') : []
}
