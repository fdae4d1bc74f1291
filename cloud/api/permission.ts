/** What a caller must be allowed to do. Every route and every WebSocket channel declares one of these, and it is enforced. */

import { type Caller, hasRole, ROLES, type Role, withinScopes } from '../identity/identity.ts'
import { includesSites, NO_SITE, sitesBeyond } from '../registry/site-scope.ts'
import { Problem } from './http/problem.ts'

/** Sites named in a refusal. */
const SITES_NAMED_MAX = 10

/**
 * `site`: the role at the sites that the answer is about; `global`: the role over every site; `self`: the user that the
 * path names, with the role anywhere.
 */
export interface Permission {
  readonly role: Role
  readonly scope: 'site' | 'global' | 'self'
}

/** `none` is for what must answer before anybody can log in, such as probes. It is written out, never a default. */
export type RequiredPermission = Permission | 'none'

/**
 * What decides about a request: the sites that it is about, each of which the role is asked for at; NO_SITE among them asks
 * for it over every site. Whoever may see all of them sees what it names, unless `seen` says otherwise. Null when what it
 * names does not exist.
 */
export type Concern = Iterable<number> | { readonly needs: Iterable<number>; readonly seen: boolean } | null

export function isDeclared(permission: unknown): permission is RequiredPermission {
  if (permission === 'none') return true
  if (typeof permission !== 'object' || permission === null) return false
  const { role, scope } = permission as Partial<Permission>
  return ROLES.includes(role as Role) && (scope === 'site' || scope === 'global' || scope === 'self')
}

/** What an API key's scope would have to be called. */
export interface Access {
  readonly tag: string
  readonly access: 'read' | 'write'
}

/**
 * Before anything of the request is read.
 * @param access null when an API key needs no scope for it.
 * @throws Problem FORBIDDEN
 */
export function requireRole(caller: Caller, permission: RequiredPermission, access: Access | null): void {
  if (permission === 'none') return
  if (access !== null && !withinScopes(caller, access.tag, access.access)) {
    throw new Problem('FORBIDDEN', `The API key may not do this: it lacks the scope ${access.tag}:${access.access}.`, {
      code: 'SCOPE_MISSING',
      hint: 'Ask for a key that has it.',
    })
  }
  const { role, scope } = permission
  const allowed = scope === 'global' ? caller.sites(role) === 'all' : hasRole(caller, role)
  if (!allowed) throw roleMissing(role, scope === 'global' ? 'over every site' : 'at any site')
}

/**
 * What cannot be seen does not exist; what can be seen and not touched says so.
 * @throws Problem FORBIDDEN
 * @returns false when the answer must be that there is no such thing.
 */
export function allowedAt(caller: Caller, role: Role, concern: Concern): boolean {
  if (concern === null) return false
  const isPlain = Symbol.iterator in concern
  const needed = [...(isPlain ? concern : concern.needs)]
  if (!(isPlain ? includesSites(caller.sites('viewer'), needed) : concern.seen)) return false
  const missing = sitesBeyond(caller.sites(role), needed)
  if (missing.length > 0) throw roleMissingAt(role, missing)
  return true
}

/** @throws Problem FORBIDDEN */
export function requireSelf(caller: Caller, userId: string): void {
  if (caller.kind === 'local' || caller.id === userId) return
  throw new Problem('FORBIDDEN', `This is for ${userId} alone.`, { hint: 'Ask for what is your own.' })
}

/** @param siteIds those at which it is missing. */
export function roleMissingAt(role: Role, siteIds: readonly number[]): Problem {
  if (siteIds.includes(NO_SITE)) return roleMissing(role, 'over every site')
  const more = siteIds.length > SITES_NAMED_MAX ? ` and ${siteIds.length - SITES_NAMED_MAX} more` : ''
  return roleMissing(role, `at site ${siteIds.slice(0, SITES_NAMED_MAX).join(', ')}${more}`)
}

function roleMissing(role: Role, where: string): Problem {
  return new Problem('FORBIDDEN', `This needs the role ${role} ${where}.`, {
    code: 'ROLE_MISSING',
    hint: 'An administrator can give it: busbar-cloud user grant.',
  })
}
