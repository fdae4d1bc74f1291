/** How a certificate of a gateway comes to be: signed first, which takes a while, then noted in the caller's transaction. */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import type { Database } from '../database/schema.ts'
import { readCertificate } from './certificate.ts'
import type { CheckedRequest } from './certificate-request.ts'
import type { CertificateStore, IssuedFor, NewCertificate, StoredCertificate } from './certificate-store.ts'
import { requestRefused } from './errors.ts'
import type { Authority } from './signing-authority.ts'

/** What a gateway gets. */
export interface IssuedCertificate {
  readonly gatewayId: string
  /** The certificate and what leads to the authority, PEM. */
  readonly certificatePem: string
  /** What the gateway is to trust the cloud by, PEM. */
  readonly authorityPem: string
  /** Where it is to dial; null when its own config says so. */
  readonly ingestAddress: string | null
  /** The name that it finds in the certificate of the ingest. */
  readonly serverName: string
  readonly notAfterMs: number
}

export interface IssuanceOptions {
  readonly authority: Authority
  readonly certificates: CertificateStore
  readonly gatewayDays: number
  readonly ingestAddress: string | null
  readonly clock: Clock
}

export class Issuance {
  private readonly options: IssuanceOptions

  constructor(options: IssuanceOptions) {
    this.options = options
  }

  /** @throws IdentityError AUTHORITY_CANNOT_ISSUE */
  async sign(gatewayId: string, request: CheckedRequest, issuedFor: IssuedFor): Promise<NewCertificate> {
    const { authority, gatewayDays, clock } = this.options
    const nowMs = clock.wallMs()
    const { publicKey } = request
    const signed = await authority.issuer.gateway({ gatewayId, publicKey }, gatewayDays * DAY_MS, nowMs)
    const { fingerprint, serial, keyHash, pem, notBeforeMs, notAfterMs } = await readCertificate(signed)
    return { fingerprint, serial, gatewayId, keyHash, pem, issuedFor, issuedAtMs: nowMs, notBeforeMs, notAfterMs }
  }

  /**
   * Only what is noted is taken at the ingest.
   * @throws IdentityError CERTIFICATE_REQUEST_REFUSED for a key that was revoked, or is another gateway's.
   */
  async note(certificate: NewCertificate, transaction: Transaction<Database>): Promise<void> {
    const { certificates } = this.options
    refuseKnownKey(await certificates.ofKey(certificate.keyHash, transaction), certificate.gatewayId)
    await certificates.insert(certificate, transaction)
  }

  answer({
    gatewayId,
    pem,
    notAfterMs,
  }: Pick<StoredCertificate, 'gatewayId' | 'pem' | 'notAfterMs'>): IssuedCertificate {
    const { authority, ingestAddress } = this.options
    return {
      gatewayId,
      certificatePem: pem + authority.issuer.intermediatesPem,
      authorityPem: authority.gatewaysTrustPem(),
      ingestAddress,
      serverName: authority.serverName(),
      notAfterMs,
    }
  }
}

function refuseKnownKey(known: readonly StoredCertificate[], gatewayId: string): void {
  if (known.some((each) => each.gatewayId !== gatewayId)) throw requestRefused('its key is that of another gateway')
  if (known.some(({ revokedAtMs }) => revokedAtMs !== null)) throw requestRefused('its key was revoked')
}
