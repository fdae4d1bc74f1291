/** The certificates of gateways as one core has them: on a database that others may share, with what it noted. */

import { createGatewayTrust, type GatewayTrust, type GatewayTrustOptions } from '../../cloud/authority/authority.ts'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { MasterKey, type SecurityEvent } from '../../cloud/identity/identity.ts'
import { GatewaySites } from '../../cloud/registry/gateway-sites.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { ManualClock } from './manual-clock.ts'

/** Cores with the same one are cores of one cloud. */
export const MASTER_KEY = new MasterKey([Buffer.alloc(32, 7)], systemRandom)

export interface TrustCore extends GatewayTrust {
  readonly clock: ManualClock
  readonly sites: GatewaySites
  readonly events: readonly SecurityEvent[]
  /** A token for `gw-1` at site 1. */
  token(gatewayId?: string): Promise<string>
}

/** Started. */
export async function trustCore(
  database: DatabaseHandle,
  changes: Partial<GatewayTrustOptions> & { readonly clock?: ManualClock } = {},
): Promise<TrustCore> {
  const clock = changes.clock ?? new ManualClock()
  const gatewaySites = new GatewaySites({ database, clock })
  const events: SecurityEvent[] = []
  const trust = createGatewayTrust({
    database,
    gatewaySites,
    masterKey: () => MASTER_KEY,
    own: null,
    ingestFiles: () => ({}),
    hosts: [],
    events: { note: (event) => void events.push(event) },
    settings: { gatewayDays: 90, graceDays: 30, tokenHours: 24 },
    attempts: { failuresMax: 5, windowMs: 60_000 },
    ingestAddress: null,
    random: systemRandom,
    log: silentLogger,
    ...changes,
    clock,
  })
  await trust.authority.start()
  return {
    ...trust,
    clock,
    sites: gatewaySites,
    events,
    async token(gatewayId = 'gw-1') {
      const { token } = await trust.enrolment.createToken({ gatewayId, siteIds: [1], createdBy: 'eve' })
      return token
    },
  }
}
