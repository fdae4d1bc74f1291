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

/** What somebody may see, and where they may do what they ask for. */
export interface SiteAccess {
  readonly sees: SiteScope
  readonly acts: SiteScope
}

export const EVERYWHERE: SiteAccess = { sees: 'all', acts: 'all' }

/** Those of `scope` that are `siteId`, where one is given. */
export function narrowed(scope: SiteScope, siteId: number | undefined): SiteScope {
  if (siteId === undefined) return scope
  return includesSite(scope, siteId) ? new Set([siteId]) : NO_SITES
}

/** Those of `siteIds` that are not in `scope`, each once, ascending. */
export function sitesBeyond(scope: SiteScope, siteIds: Iterable<number>): number[] {
  if (scope === 'all') return []
  return [...new Set(siteIds)].filter((siteId) => !scope.has(siteId)).sort((a, b) => a - b)
}
