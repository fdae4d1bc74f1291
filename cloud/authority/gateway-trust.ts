/** Everything about the certificates of gateways, joined: what routes, ingest and start need of it. */

import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { MasterKey, SecurityNotes } from '../identity/identity.ts'
import type { GatewaySites } from '../registry/gateway-sites.ts'
import { AttemptLimit } from './attempt-limit.ts'
import { CertificateStore } from './certificate-store.ts'
import { Challenges } from './challenge.ts'
import { Enrolment } from './enrolment.ts'
import { GatewayCertificates } from './gateway-certificates.ts'
import { GatewayIdentities } from './gateway-identities.ts'
import { Issuance } from './issuance.ts'
import { Renewals } from './renewal.ts'
import { Authority, type AuthorityOptions } from './signing-authority.ts'
import { TokenStore } from './token-store.ts'

export interface GatewayTrustOptions extends Pick<AuthorityOptions, 'own' | 'ingestFiles' | 'hosts'> {
  readonly database: DatabaseHandle
  readonly gatewaySites: GatewaySites
  readonly masterKey: () => MasterKey
  readonly events: SecurityNotes
  readonly settings: {
    readonly gatewayDays: number
    readonly graceDays: number
    readonly tokenHours: number
  }
  /** Wrong tokens and proofs of one address until it waits, and for how long, milliseconds. */
  readonly attempts: { readonly failuresMax: number; readonly windowMs: number }
  /** Where gateways are told to dial; null when their own config says so. */
  readonly ingestAddress: string | null
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface GatewayTrust {
  /** To be started after the database, and before ingest and API. */
  readonly authority: Authority
  readonly enrolment: Enrolment
  readonly renewals: Renewals
  readonly certificates: GatewayCertificates
  readonly identities: GatewayIdentities
}

export function createGatewayTrust(options: GatewayTrustOptions): GatewayTrust {
  const { database, settings, ingestAddress, clock } = options
  const authority = new Authority(options)
  const certificates = new CertificateStore(database)
  const tokens = new TokenStore(database)
  const attempts = new AttemptLimit(options.attempts, clock)
  const issuance = new Issuance({ authority, certificates, gatewayDays: settings.gatewayDays, ingestAddress, clock })
  const challenges = new Challenges(options)
  const parts = { ...options, ...settings, authority, certificates, issuance, attempts }
  return {
    authority,
    enrolment: new Enrolment({ ...parts, tokens }),
    renewals: new Renewals({ ...parts, challenges }),
    certificates: new GatewayCertificates({ ...parts, tokens }),
    identities: new GatewayIdentities(parts),
  }
}
