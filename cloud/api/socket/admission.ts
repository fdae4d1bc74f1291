/** Whether a caller may have a subscription, and where the index keeps it then. Pure. */

import type { Caller } from '../../identity/identity.ts'
import { includesSite } from '../../registry/site-scope.ts'
import { requireRole, requireSelf, roleMissingAt } from '../permission.ts'
import { CHANNELS, type Channel } from './channels.ts'
import { criterionOf, type Filter, filterKey } from './filter.ts'
import { type Placement, placeOfAsker, placeOfSite } from './subscription-index.ts'

/** A caller of more sites is looked at with each event rather than found by site. */
const SITES_PLACED_MAX = 100

export interface Wish {
  readonly channel: Channel
  readonly filter: Filter
}

/** @throws Problem FORBIDDEN */
export function requireChannel(caller: Caller, { channel, filter }: Wish): void {
  const { permission, tag } = CHANNELS[channel]
  requireRole(caller, permission, { tag, access: 'read' })
  if (permission === 'none') return
  if (permission.scope === 'self') requireSelf(caller, filter.userId ?? '')
  const { siteId } = filter
  if (siteId === undefined || includesSite(caller.sites(permission.role), siteId)) return
  // The same of a site that there is not.
  throw roleMissingAt(permission.role, [siteId])
}

/** Of what requireChannel lets pass. */
export function placementOf(caller: Caller, { channel, filter }: Wish): Placement {
  const { permission } = CHANNELS[channel]
  const key = filterKey(filter)
  if (permission === 'none' || permission.scope !== 'site') return { guarded: false, places: [key] }
  const sites = caller.sites(permission.role)
  if (sites === 'all') return { guarded: false, places: [key] }
  if (criterionOf(filter) !== null || sites.size > SITES_PLACED_MAX) return { guarded: true, places: [key] }
  return { guarded: true, places: [...[...sites].map(placeOfSite), placeOfAsker(caller.id)] }
}
