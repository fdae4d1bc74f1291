/**
 * Callers for tests of what each may do. The credential says it all: `viewer.1`, `viewer.1+operator.2`, `admin.all`, `nobody`;
 * `key+engineer.1` is a program whose key has every scope, `poorkey+engineer.1` one whose key has none that counts.
 */

import { type Authentication, type Caller, callerOf, IdentityError, ROLES } from '../../cloud/identity/identity.ts'

const SCOPES: Readonly<Record<string, readonly string[]>> = { key: ['*:read', '*:write'], poorkey: ['nothing:read'] }

export function callerNamed(credential: string): Caller {
  const parts = credential.split('+')
  const scopes = SCOPES[parts[0] ?? '']
  const grants = parts.flatMap((part) => {
    const [name = '', site = ''] = part.split('.')
    const role = ROLES.find((each) => each === name)
    return role === undefined ? [] : [{ role, siteId: site === 'all' ? ('all' as const) : Number(site) }]
  })
  const name = credential.replaceAll('+', '-')
  return callerOf(
    scopes === undefined
      ? { kind: 'user', id: name, credentialId: name, scopes: null }
      : { kind: 'api-key', id: `api-key:${name}`, credentialId: name, scopes: new Set(scopes) },
    grants,
  )
}

/** Knows whoever shows such a credential, and nobody else. */
export const FIXED_CALLERS: Authentication = {
  async authenticate(credential) {
    if (credential === null) throw new IdentityError('UNAUTHENTICATED', 'Nobody is logged in.')
    return callerNamed(credential)
  },
  recheck: async (callers) => new Map(callers.map((caller) => [caller.credentialId ?? '', caller])),
}
