/**
 * What a caller must be allowed to do. Every route and every WebSocket channel declares one of these; until there are
 * users to ask, the API listens on loopback only and the declarations are published and tested, not enforced.
 */

export const ROLES = ['viewer', 'operator', 'engineer', 'admin', 'auditor'] as const
export type Role = (typeof ROLES)[number]

/**
 * `site`: the role at the site the answer is about is enough; `global`: the role over every site; `self`: the user that the
 * path names, with the role anywhere.
 */
export interface Permission {
  readonly role: Role
  readonly scope: 'site' | 'global' | 'self'
}

/** `none` is for what must answer before anybody can log in, such as probes. It is written out, never a default. */
export type RequiredPermission = Permission | 'none'

export function isDeclared(permission: unknown): permission is RequiredPermission {
  if (permission === 'none') return true
  if (typeof permission !== 'object' || permission === null) return false
  const { role, scope } = permission as Partial<Permission>
  return ROLES.includes(role as Role) && (scope === 'site' || scope === 'global' || scope === 'self')
}
