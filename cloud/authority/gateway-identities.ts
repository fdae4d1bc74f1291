/**
 * Who a gateway is: what its certificate says, never what it says itself. The transport has verified the signature and the dates;
 * here is decided whose certificate it is, whether it still counts, and for which sites its gateway may speak.
 */

import { isIssuedBy } from '../../shared/certificates.ts'
import type { Clock } from '../../shared/clock.ts'
import type { SecurityEventKind, SecurityNotes } from '../identity/identity.ts'
import type { GatewaySites } from '../registry/gateway-sites.ts'
import { type CertificateFacts, readCertificate } from './certificate.ts'
import type { CertificateStore, StoredCertificate } from './certificate-store.ts'
import { CertificateRefusedError } from './errors.ts'
import type { Authority } from './signing-authority.ts'

export interface GatewayIdentity {
  readonly gatewayId: string
  readonly fingerprint: string
  readonly serial: string
  readonly notAfterMs: number
  readonly sites: ReadonlySet<number>
}

export interface GatewayIdentitiesOptions {
  readonly authority: Authority
  readonly certificates: CertificateStore
  readonly gatewaySites: GatewaySites
  readonly events: SecurityNotes
  readonly clock: Clock
}

/** Who dials in. */
export interface Dialling {
  /** The certificate that the transport has verified, DER; null when there is none. */
  readonly certificate: Uint8Array | null
  /** Whom it claims to be. */
  readonly claimedId: string
  readonly address: string
}

/** Whose certificate it is, and from where it was shown. */
interface Known {
  readonly gatewayId: string
  readonly address: string
}

export class GatewayIdentities {
  private readonly options: GatewayIdentitiesOptions

  constructor(options: GatewayIdentitiesOptions) {
    this.options = options
  }

  /** @throws CertificateRefusedError; BusbarError DATABASE_UNAVAILABLE */
  async admit(dialling: Dialling): Promise<GatewayIdentity> {
    const { certificates, gatewaySites, clock } = this.options
    const facts = await readShown(dialling)
    const gatewayId = this.gatewayOf(facts, dialling)
    this.refuseOutdated(facts, gatewayId)
    const { fingerprint, serial, keyHash, pem, notBeforeMs, notAfterMs } = facts
    const stored = await certificates.find(fingerprint)
    const who = { gatewayId, address: dialling.address }
    this.refuseRevoked(facts, stored, who)
    this.refuseUntrusted(facts, stored, who)
    const sites = new Set(await gatewaySites.given(gatewayId))
    if (sites.size === 0) throw withoutSites(gatewayId)
    if (stored === null) {
      // Made elsewhere: noted when its gateway first comes, so that it is listed and can be revoked.
      const seen = { gatewayId, issuedFor: 'elsewhere', issuedAtMs: clock.wallMs() } as const
      await certificates.insert({ fingerprint, serial, keyHash, pem, notBeforeMs, notAfterMs, ...seen })
    }
    return { gatewayId, fingerprint, serial, notAfterMs, sites }
  }

  /**
   * Looks again at those whose streams go on: each is as it is now, or the reason why its stream must end.
   * @throws BusbarError DATABASE_UNAVAILABLE
   */
  async recheck(
    identities: readonly GatewayIdentity[],
  ): Promise<ReadonlyMap<GatewayIdentity, ReadonlySet<number> | CertificateRefusedError>> {
    const standings = await this.options.certificates.standings([
      ...new Set(identities.map((each) => each.fingerprint)),
    ])
    const nowMs = this.options.clock.wallMs()
    return new Map(
      identities.map((identity) => {
        const { gatewayId, fingerprint, serial, notAfterMs } = identity
        const standing = standings.get(fingerprint)
        if (standing === undefined || standing.revoked) return [identity, revoked(gatewayId, serial)]
        if (notAfterMs <= nowMs) return [identity, expired(gatewayId, notAfterMs)]
        return [identity, standing.sites.size === 0 ? withoutSites(gatewayId) : standing.sites]
      }),
    )
  }

  /** The gateway that the certificate is for, which must be the one that it claims to be. */
  private gatewayOf({ gatewayIds, commonNames, serial }: CertificateFacts, { claimedId, address }: Dialling): string {
    // Ours carry the name as a URI; an authority of the operator's may know common names only. Two names are as good as none.
    const named = gatewayIds.length > 0 ? gatewayIds : commonNames
    const gatewayId = named.length === 1 ? (named[0] as string) : null
    if (gatewayId === claimedId) return gatewayId
    const detail = `a certificate for ${named.join(', ') || 'nobody'} (${serial}) was shown by one that says it is ${claimedId}`
    this.note('gateway-impersonated', { gatewayId: gatewayId ?? claimedId, address }, detail)
    throw new CertificateRefusedError(
      'CERTIFICATE_OF_ANOTHER',
      `hello.gateway_id is ${claimedId} but the certificate is for ${named.join(', ') || 'no gateway'}`,
      "use the gateway's own certificate, or set its id to that name",
    )
  }

  /** The transport has looked already, by the system's clock; this is the clock that streams are looked at by. */
  private refuseOutdated({ notAfterMs, notBeforeMs }: CertificateFacts, gatewayId: string): void {
    const nowMs = this.options.clock.wallMs()
    if (nowMs >= notAfterMs) throw expired(gatewayId, notAfterMs)
    if (nowMs >= notBeforeMs) return
    const message = `the certificate is good from ${new Date(notBeforeMs).toISOString()} on`
    throw new CertificateRefusedError('CERTIFICATE_EXPIRED', message, 'set the clocks of cloud and gateway right')
  }

  /** @param stored what is known of it; null when it was never seen. */
  private refuseRevoked({ serial }: CertificateFacts, stored: StoredCertificate | null, who: Known): void {
    if (stored === null || stored.revokedAtMs === null) return
    this.note('gateway-certificate-revoked', who, `it shows the certificate ${serial}, which was revoked`)
    throw revoked(who.gatewayId, serial)
  }

  /**
   * What was issued here is known. What was made elsewhere is asked about each time: its authority may have been taken out since,
   * while the root above it still counts.
   */
  private refuseUntrusted(
    { serial, certificate }: CertificateFacts,
    stored: StoredCertificate | null,
    who: Known,
  ): void {
    if (stored !== null && stored.issuedFor !== 'elsewhere') return
    const { ours, elsewhere } = this.options.authority.signers()
    if (ours !== null && isIssuedBy(certificate, ours)) {
      // Seen when the authority did not sign here yet.
      if (stored !== null) return
      const detail = `its certificate ${serial} is by the authority, which does not know it: its key may be in other hands`
      this.note('gateway-certificate-revoked', who, detail)
      throw new CertificateRefusedError(
        'CERTIFICATE_UNKNOWN',
        `the certificate ${serial} was never issued to ${who.gatewayId}`,
        'enrol the gateway: busbar-cloud gateway token',
      )
    }
    if (elsewhere.some((signer) => isIssuedBy(certificate, signer))) return
    const issuer = certificate.issuer.replaceAll('\n', ', ')
    this.note(
      'gateway-certificate-refused',
      who,
      `its certificate ${serial} is by ${issuer}, which does not sign for gateways`,
    )
    throw new CertificateRefusedError(
      'CERTIFICATE_UNTRUSTED',
      `the authority that signed the certificate ${serial} does not sign for gateways`,
      'enrol the gateway, or put the certificate of that authority into ingest.tls.caFile',
    )
  }

  private note(kind: SecurityEventKind, { gatewayId, address }: Known, detail: string): void {
    this.options.events.note({ kind, subject: gatewayId, detail, address })
  }
}

async function readShown({ certificate }: Dialling): Promise<CertificateFacts> {
  if (certificate === null) {
    const hint = 'enrol the gateway: busbar-cloud gateway token, then busbar-edge enroll'
    throw new CertificateRefusedError('CERTIFICATE_MISSING', 'the gateway shows no certificate', hint)
  }
  try {
    return await readCertificate(certificate)
  } catch {
    const hint = 'have a new one made'
    throw new CertificateRefusedError('CERTIFICATE_UNREADABLE', 'the certificate cannot be read', hint)
  }
}

function revoked(gatewayId: string, serial: string): CertificateRefusedError {
  const message = `the certificate ${serial} of ${gatewayId} was revoked`
  return new CertificateRefusedError('CERTIFICATE_REVOKED', message, 'enrol the gateway: busbar-cloud gateway token')
}

function expired(gatewayId: string, notAfterMs: number): CertificateRefusedError {
  const message = `the certificate of ${gatewayId} ended on ${new Date(notAfterMs).toISOString()}`
  return new CertificateRefusedError('CERTIFICATE_EXPIRED', message, 'renew it, or enrol the gateway with a new token')
}

function withoutSites(gatewayId: string): CertificateRefusedError {
  const message = `gateway ${gatewayId} may not speak for any site`
  const hint = `give it its sites: busbar-cloud gateway sites ${gatewayId} <site>...`
  return new CertificateRefusedError('GATEWAY_WITHOUT_SITES', message, hint)
}
