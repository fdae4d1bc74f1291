/** Who may see what a live channel shows. Pure. */

import { includesSites, type SiteScope } from '../../registry/site-scope.ts'

/** What decides who may see an event. */
export interface Sight {
  /**
   * The sites that it is about: whoever may see all of them may see it. Null when it is at no known site, and so for those
   * only who may see every site.
   */
  readonly sites: readonly number[] | null
  /** The caller who asked for it, and may see it wherever it is; null for nobody. */
  readonly askedBy: string | null
}

/** Who is subscribed. */
export interface Viewer {
  /** A caller's. */
  readonly id: string
  readonly sites: SiteScope
}

export function maySee(viewer: Viewer, { sites, askedBy }: Sight): boolean {
  if (viewer.sites === 'all' || askedBy === viewer.id) return true
  // No sites at all are no proof that somebody may see it.
  return sites !== null && sites.length > 0 && includesSites(viewer.sites, sites)
}
