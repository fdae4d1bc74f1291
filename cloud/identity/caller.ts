/** Who asks: a person who logged in, a program with an API key, or whoever is on this machine where no login is asked for. */

import { createHash } from 'node:crypto'
import type { SiteScope } from '../registry/site-scope.ts'
import { type Grant, type Role, sitesWith } from './roles.ts'

export interface Caller {
  readonly kind: 'user' | 'api-key' | 'local'
  /**
   * The name under which what it does is recorded: a user's id, `api-key:<id>`, or `local`. The name of a local caller is
   * nobody's: what such a caller says of itself stands.
   */
  readonly id: string
  /** Of the login, or of the key: what is looked at again while a socket is open. Null for a local caller. */
  readonly credentialId: string | null
  /** What an API key is limited to, such as `telemetry:read`; null for no limit. */
  readonly scopes: ReadonlySet<string> | null
  /** Changes whenever what the caller may do changes. */
  readonly version: string
  /** The sites at which it may do what asks for `role`. */
  sites(role: Role): SiteScope
}

export function callerOf(
  who: Pick<Caller, 'kind' | 'id' | 'credentialId' | 'scopes'>,
  grants: readonly Grant[],
): Caller {
  const byRole = new Map<Role, SiteScope>()
  const named = grants.map(({ role, siteId }) => `${role}@${siteId}`).sort()
  return {
    ...who,
    version: createHash('sha256')
      .update([...named, '', ...[...(who.scopes ?? ['*'])].sort()].join('\n'))
      .digest('base64url'),
    sites(role) {
      const known = byRole.get(role)
      if (known !== undefined) return known
      const sites = sitesWith(grants, role)
      byRole.set(role, sites)
      return sites
    },
  }
}

/** Whoever reaches a core that asks nobody to log in, which is one that listens on loopback and says `api.insecure`. */
export const LOCAL_CALLER: Caller = callerOf({ kind: 'local', id: 'local', credentialId: null, scopes: null }, [
  { role: 'admin', siteId: 'all' },
])

/** True when the caller has `role` at some site at least. */
export function hasRole(caller: Caller, role: Role): boolean {
  const sites = caller.sites(role)
  return sites === 'all' || sites.size > 0
}

/** True when an API key's scopes allow it, and for everybody else. */
export function withinScopes({ scopes }: Caller, tag: string, access: 'read' | 'write'): boolean {
  if (scopes === null) return true
  return [`${tag}:${access}`, `*:${access}`].some((scope) => scopes.has(scope))
}

/** Who asks where nobody needs to be logged in. */
export const NOBODY: Caller = callerOf({ kind: 'user', id: '', credentialId: null, scopes: new Set() }, [])
