/** The certificates of gateways as people see them: listed, and revoked. */

import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { GatewaySites } from '../registry/gateway-sites.ts'
import type { CertificateStore, StoredCertificate } from './certificate-store.ts'
import { giveSites } from './sites-given.ts'
import type { TokenStore } from './token-store.ts'

export interface GatewayCertificatesOptions {
  readonly database: DatabaseHandle
  readonly gatewaySites: Pick<GatewaySites, 'hold' | 'given' | 'give'>
  readonly certificates: CertificateStore
  readonly tokens: TokenStore
  readonly clock: Clock
  readonly log: Logger
}

export interface Revocation {
  readonly reason: string
  readonly by: string
}

export class GatewayCertificates {
  private readonly options: GatewayCertificatesOptions

  constructor(options: GatewayCertificatesOptions) {
    this.options = options
  }

  /** The newest first, at most 1,000. */
  list(gatewayId: string): Promise<StoredCertificate[]> {
    return this.options.certificates.list(gatewayId)
  }

  /**
   * For ever. Streams with it end within `authority.recheckMs`, whichever core they are on; whoever dials in with it is told of.
   * @param serial or the fingerprint.
   * @returns false when the gateway has no such certificate.
   */
  async revoke(gatewayId: string, serial: string, { reason, by }: Revocation): Promise<boolean> {
    const { database, gatewaySites, certificates, clock, log } = this.options
    const revocation = { atMs: clock.wallMs(), reason, by }
    const count = await database.transaction(async (transaction) => {
      // A renewal that is under way is waited for, or finds what is revoked here.
      await gatewaySites.hold(gatewayId, transaction)
      return certificates.revoke(gatewayId, serial, revocation, transaction)
    })
    if (count > 0) log.warn({ gatewayId, serial, reason, by }, 'a certificate was revoked')
    return count > 0
  }

  /**
   * Says which sites the gateway may speak for: these and no others. Tokens for it are void when it gets one more.
   * @throws InvalidRegistrationError, NotRegisteredError
   */
  giveSites(gatewayId: string, siteIds: readonly number[]): Promise<number[]> {
    const { database, clock } = this.options
    const atMs = Math.round(clock.wallMs())
    return database.transaction((transaction) => giveSites(this.options, gatewayId, siteIds, atMs, transaction))
  }

  /** All that the gateway has, and the tokens with which it could get more. Resolves with how many certificates it has. */
  async revokeAll(gatewayId: string, { reason, by }: Revocation): Promise<number> {
    const { database, gatewaySites, certificates, tokens, clock, log } = this.options
    const atMs = Math.round(clock.wallMs())
    const count = await database.transaction(async (transaction) => {
      await gatewaySites.hold(gatewayId, transaction)
      await tokens.revoke(gatewayId, null, atMs, transaction)
      return certificates.revoke(gatewayId, null, { atMs, reason, by }, transaction)
    })
    log.warn({ gatewayId, certificates: count, reason, by }, 'all certificates of a gateway were revoked')
    return count
  }
}
