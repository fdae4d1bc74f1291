/**
 * How a certificate is followed by the next: over the uplink, where the session is the proof that the gateway has the old key;
 * or over the API by a signature with it, for a gateway whose certificate has expired and which the uplink lets in no more.
 *
 * The older certificate stays good until its own end: a gateway that loses what it was just given must still get in. Whoever
 * wants it gone revokes it.
 */

import { verify, X509Certificate } from 'node:crypto'
import type { Clock } from '../../shared/clock.ts'
import { DAY_MS, HOUR_MS } from '../../shared/durations.ts'
import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { SecurityNotes } from '../identity/identity.ts'
import type { GatewaySites } from '../registry/gateway-sites.ts'
import type { AttemptLimit } from './attempt-limit.ts'
import { sha256Hex } from './certificate.ts'
import { type CheckedRequest, checkRequest, requestOfPem } from './certificate-request.ts'
import type { CertificateStore, StoredCertificate } from './certificate-store.ts'
import type { Challenges } from './challenge.ts'
import { notRenewable, proofInvalid, renewedJustNow, requestRefused } from './errors.ts'
import type { Issuance, IssuedCertificate } from './issuance.ts'
import type { Authority } from './signing-authority.ts'

export interface RenewalOptions {
  readonly database: DatabaseHandle
  readonly gatewaySites: GatewaySites
  readonly authority: Authority
  readonly issuance: Issuance
  readonly certificates: CertificateStore
  readonly challenges: Challenges
  readonly attempts: AttemptLimit
  readonly events: SecurityNotes
  /** How long after its end a certificate can still be renewed with its key, days. */
  readonly graceDays: number
  readonly clock: Clock
  readonly log: Logger
}

export interface RecoveryRequest {
  readonly certificatePem: string
  readonly csrPem: string
  readonly challenge: string
  /** Base64 of the signature in DER, by the key of the certificate: ECDSA with SHA-256. */
  readonly signature: string
}

/** Between two certificates of one gateway, beside the same one again. */
const PERIOD_MS = 60_000
/** How long the same key gets the same certificate again: the answer may have been lost. */
const REPEATED_MS = HOUR_MS

export class Renewals {
  private readonly options: RenewalOptions

  constructor(options: RenewalOptions) {
    this.options = options
  }

  /**
   * The certificate that follows the one of a session.
   * @throws IdentityError CERTIFICATE_REQUEST_REFUSED, CERTIFICATE_NOT_RENEWABLE, AUTHORITY_CANNOT_ISSUE, TOO_MANY_REQUESTS
   */
  async renew(session: { readonly fingerprint: string }, csrDer: Uint8Array): Promise<IssuedCertificate> {
    const { authority, certificates } = this.options
    authority.requireIssuing()
    const request = await checkRequest(csrDer)
    const old = await certificates.find(session.fingerprint)
    // Between two rechecks a stream may outlive the right to it.
    if (old === null || old.revokedAtMs !== null) throw notRenewable('it was revoked')
    return this.follow(old, request, 'renewal')
  }

  /** Something to sign, good for five minutes. @throws IdentityError AUTHORITY_CANNOT_ISSUE */
  challenge(): string {
    this.options.authority.requireIssuing()
    return this.options.challenges.make()
  }

  /**
   * The certificate that follows one that may have expired, by proof of its key.
   * @throws IdentityError RENEWAL_PROOF_INVALID, and what `renew` throws.
   */
  async recover(asked: RecoveryRequest, from: string): Promise<IssuedCertificate> {
    const { authority, attempts, graceDays, clock } = this.options
    attempts.check(from)
    authority.requireIssuing()
    const csrDer = requestOfPem(asked.csrPem)
    const old = await this.proven(asked, csrDer, from)
    if (old.revokedAtMs !== null) {
      const detail = `a renewal was asked for with the certificate ${old.serial}, which was revoked`
      this.options.events.note({ kind: 'gateway-certificate-revoked', subject: old.gatewayId, detail, address: from })
      throw notRenewable('it was revoked')
    }
    if (clock.wallMs() > old.notAfterMs + graceDays * DAY_MS) {
      throw notRenewable(`it ended more than ${graceDays} days ago`)
    }
    return this.follow(old, await checkRequest(csrDer), 'recovery')
  }

  /** The certificate whose key whoever asks has; which of the proofs is wrong is not told. */
  private async proven(asked: RecoveryRequest, csrDer: Uint8Array, from: string): Promise<StoredCertificate> {
    const { challenges, certificates, attempts, events } = this.options
    const shown = challenges.isGood(asked.challenge) ? readShown(asked.certificatePem) : null
    const old = shown === null ? null : await certificates.find(sha256Hex(shown.raw))
    // A certificate from elsewhere is renewed there.
    if (shown !== null && old !== null && old.issuedFor !== 'elsewhere') {
      const signed = Buffer.concat([Buffer.from(`busbar-renewal\n${asked.challenge}\n`), csrDer])
      if (isSigned(signed, shown, asked.signature)) return old
      const detail = `somebody without its key asked to renew the certificate ${old.serial}`
      events.note({ kind: 'gateway-certificate-refused', subject: old.gatewayId, detail, address: from })
    }
    attempts.failed(from)
    throw proofInvalid()
  }

  private async follow(
    old: StoredCertificate,
    request: CheckedRequest,
    issuedFor: 'renewal' | 'recovery',
  ): Promise<IssuedCertificate> {
    const { database, gatewaySites, issuance, certificates, clock, log } = this.options
    const { gatewayId } = old
    const again = repeated(await certificates.ofKey(request.keyHash), gatewayId, clock.wallMs())
    if (again !== null) return issuance.answer(again)
    const certificate = await issuance.sign(gatewayId, request, issuedFor)
    await database.transaction(async (transaction) => {
      // Of two renewals at once one finds the other's, and no revocation comes between what is asked here and what is noted.
      await gatewaySites.hold(gatewayId, transaction)
      const now = await certificates.find(old.fingerprint, transaction)
      if (now === null || now.revokedAtMs !== null) throw notRenewable('it was revoked')
      if ((await gatewaySites.given(gatewayId, transaction)).length === 0) {
        throw notRenewable('its gateway may not speak for any site any more')
      }
      const lastMs = await certificates.lastRenewalMs(gatewayId, transaction)
      // Two-sided: a clock that was set back must not hold renewals up until it has caught up.
      if (lastMs !== null && Math.abs(clock.wallMs() - lastMs) < PERIOD_MS) {
        throw renewedJustNow(PERIOD_MS)
      }
      await issuance.note(certificate, transaction)
    })
    log.info({ gatewayId, serial: certificate.serial, after: old.serial, issuedFor }, 'a certificate was renewed')
    return issuance.answer(certificate)
  }
}

/** What was given for the same key a moment ago. @throws IdentityError CERTIFICATE_REQUEST_REFUSED for an older key. */
function repeated(known: readonly StoredCertificate[], gatewayId: string, nowMs: number): StoredCertificate | null {
  const [newest] = known
  if (newest === undefined) return null
  const isRecent = Math.abs(nowMs - newest.issuedAtMs) < REPEATED_MS && newest.issuedFor !== 'enrolment'
  if (isRecent && newest.gatewayId === gatewayId && newest.revokedAtMs === null) return newest
  throw requestRefused('its key is not a new one')
}

function readShown(pem: string): X509Certificate | null {
  try {
    return new X509Certificate(pem)
  } catch {
    return null
  }
}

function isSigned(signed: Uint8Array, { publicKey }: X509Certificate, signature: string): boolean {
  try {
    return verify('sha256', signed, { key: publicKey, dsaEncoding: 'der' }, Buffer.from(signature, 'base64'))
  } catch {
    return false
  }
}
