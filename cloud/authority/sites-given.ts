/** Which sites a gateway may speak for, together with who could become it. */

import type { Transaction } from 'kysely'
import type { Database } from '../database/schema.ts'
import type { GatewaySites } from '../registry/gateway-sites.ts'
import type { TokenStore } from './token-store.ts'

/**
 * Gives the gateway these sites and takes all others. A token that nobody has redeemed yet was made by somebody who answers for the
 * sites of that time, and whoever has it would get what was added since: it is void.
 */
export async function giveSites(
  {
    gatewaySites,
    tokens,
  }: { readonly gatewaySites: Pick<GatewaySites, 'given' | 'give'>; readonly tokens: TokenStore },
  gatewayId: string,
  siteIds: readonly number[],
  atMs: number,
  transaction: Transaction<Database>,
): Promise<number[]> {
  const before = new Set(await gatewaySites.given(gatewayId, transaction))
  const given = await gatewaySites.give(gatewayId, siteIds, transaction)
  if (given.some((siteId) => !before.has(siteId))) await tokens.revoke(gatewayId, null, atMs, transaction)
  return given
}
