/** The roles, what each includes, and at which sites somebody has them. Pure. */

import type { SiteScope } from '../registry/site-scope.ts'

export const ROLES = ['viewer', 'operator', 'engineer', 'admin', 'auditor'] as const
export type Role = (typeof ROLES)[number]

/** A role at a site, or at every site, those to come included. */
export interface Grant {
  readonly role: Role
  readonly siteId: number | 'all'
}

/** Who has the role on the left may do what asks for one on the right. An auditor sees everything and changes nothing. */
const INCLUDES: Readonly<Record<Role, readonly Role[]>> = {
  viewer: ['viewer'],
  operator: ['viewer', 'operator'],
  engineer: ['viewer', 'operator', 'engineer'],
  admin: ['viewer', 'operator', 'engineer', 'admin', 'auditor'],
  auditor: ['viewer', 'auditor'],
}

/** The sites at which `grants` give `role`, by itself or within another. */
export function sitesWith(grants: readonly Grant[], role: Role): SiteScope {
  const sites = new Set<number>()
  for (const grant of grants) {
    if (!INCLUDES[grant.role].includes(role)) continue
    if (grant.siteId === 'all') return 'all'
    sites.add(grant.siteId)
  }
  return sites
}
