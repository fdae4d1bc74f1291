/**
 * Which gateways somebody may see, as conditions of a query: those of one of their sites, which are the ones that the gateway
 * was given, or else those of its devices (see gateway-sites.ts).
 */

import { type RawBuilder, sql } from 'kysely'
import type { Dialect } from '../database/schema.ts'
import { siteCondition } from './site-condition.ts'
import type { SiteScope } from './site-scope.ts'

/** Of a row of `gateways`: one of its devices is at these sites. */
export function hasDeviceAt(dialect: Dialect, sites: SiteScope): RawBuilder<boolean> {
  const within = siteCondition(dialect, 'devices.site_id', sites) ?? sql<boolean>`1 = 1`
  return sql<boolean>`exists (select 1 from devices where devices.gateway_id = gateways.id and ${within})`
}

/** Of a row of `gateways`: whoever may see these sites sees it. */
export function isSeenFrom(dialect: Dialect, sites: SiteScope): RawBuilder<boolean> {
  const within = siteCondition(dialect, 'given.site_id', sites) ?? sql<boolean>`1 = 1`
  return sql<boolean>`case
    when exists (select 1 from gateway_sites as given where given.gateway_id = gateways.id)
      then exists (select 1 from gateway_sites as given where given.gateway_id = gateways.id and ${within})
    else ${hasDeviceAt(dialect, sites)} end`
}
