/** How roles are written on the command line: `operator@1` at a site, `admin` at every site. */

import { InvalidArgumentError } from 'commander'
import { type Grant, ROLES, type Role } from '../identity/roles.ts'

/** For an option, or arguments, that may be given several times. */
export function collectedGrants(text: string, before: readonly Grant[] = []): Grant[] {
  return [...before, grant(text)]
}

function grant(text: string): Grant {
  const [, role = '', site] = /^([a-z]+)(?:@(\d{1,9}))?$/.exec(text) ?? []
  const siteId = site === undefined ? 'all' : Number(site)
  if (!ROLES.includes(role as Role) || siteId === 0) {
    throw new InvalidArgumentError(
      `It must be ${ROLES.join(', ')}, by itself for every site or with @ and the id of a site, such as operator@1.`,
    )
  }
  return { role: role as Role, siteId }
}

export function grantsText(grants: readonly Grant[]): string {
  if (grants.length === 0) return '-'
  return grants.map(({ role, siteId }) => (siteId === 'all' ? role : `${role}@${siteId}`)).join(' ')
}
