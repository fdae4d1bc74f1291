/** The sites that somebody may see or act at. */

/** `all` includes sites to come. */
export type SiteScope = 'all' | ReadonlySet<number>

export const NO_SITES: SiteScope = new Set<number>()

export function includesSite(scope: SiteScope, siteId: number): boolean {
  return scope === 'all' || scope.has(siteId)
}

/** True when `scope` has each of `siteIds`; of none it is true. */
export function includesSites(scope: SiteScope, siteIds: Iterable<number>): boolean {
  if (scope === 'all') return true
  for (const siteId of siteIds) if (!scope.has(siteId)) return false
  return true
}

/** Stands where something is at no known site: no set of sites has it, so it is for those who have all. */
export const NO_SITE = 0
