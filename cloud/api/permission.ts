/** What a caller must be allowed to do. Every route and every WebSocket channel declares one of these, and it is enforced. */

import { type Caller, hasRole, ROLES, type Role, withinScopes } from '../identity/identity.ts'
import { includesSites } from '../registry/site-scope.ts'
import { Problem } from './http/problem.ts'

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
 * The sites that a request is about, so that the role is asked for at each of them. Null when what it names does not exist:
 * the handler then says so, in the words in which it speaks of what the caller may not see.
 */
export type SitesOf<Call> = (call: Call) => Promise<Iterable<number> | null> | Iterable<number> | null

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

/** Before anything of the request is read. @throws Problem FORBIDDEN */
export function requireRole(caller: Caller, permission: RequiredPermission, { tag, access }: Access): void {
  if (permission === 'none') return
  if (!withinScopes(caller, tag, access)) {
    throw new Problem('FORBIDDEN', `The API key may not do this: it lacks the scope ${tag}:${access}.`, {
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
 * @param sites null when what the request names does not exist.
 * @throws Problem FORBIDDEN
 * @returns false when the answer must be that there is no such thing.
 */
export function allowedAt(caller: Caller, role: Role, sites: Iterable<number> | null): boolean {
  if (sites === null) return false
  const all = [...sites]
  if (includesSites(caller.sites(role), all)) return true
  if (!includesSites(caller.sites('viewer'), all)) return false
  throw roleMissing(role, `at site ${all.join(', ')}`)
}

/** @throws Problem FORBIDDEN */
export function requireSelf(caller: Caller, userId: string): void {
  if (caller.kind === 'local' || caller.id === userId) return
  throw new Problem('FORBIDDEN', `This is for ${userId} alone.`, { hint: 'Ask for what is your own.' })
}

function roleMissing(role: Role, where: string): Problem {
  return new Problem('FORBIDDEN', `This needs the role ${role} ${where}.`, {
    code: 'ROLE_MISSING',
    hint: 'An administrator can give it: busbar-cloud user grant.',
  })
}
