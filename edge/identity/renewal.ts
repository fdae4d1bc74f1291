/**
 * Keeps the certificate of an enrolled gateway good: after two thirds of its life the next one is asked for over the uplink;
 * once it has ended, over the API, by proof of its key. A failure is told and tried again, and the site never notices.
 */

import type { Validity } from '../../shared/certificates.ts'
import type { Clock, Timer } from '../../shared/clock.ts'
import { HOUR_MS } from '../../shared/durations.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { type BackoffPolicy, fullJitterMs } from '../../shared/retry.ts'
import { answeredCertificates, checkIssued, type IssuedCertificate, validityIn } from './certificates.ts'
import { CLOUD_SERVER_NAME, EnrolmentApi } from './enrolment-api.ts'
import { apiUrl } from './https-request.ts'
import type { EnrolledIdentity, IdentityFile } from './identity-file.ts'
import { newPrivateKey, renewalProof, requestPem, signingRequest } from './signing-request.ts'
import { enrolled } from './uplink-credentials.ts'
import { renewAtMs, stateAt } from './validity.ts'

/** What renewing needs of the uplink. */
export interface RenewingUplink {
  requestCertificate(csrDer: Buffer): Promise<IssuedCertificate>
  stats(): {
    readonly connected: boolean
    readonly lastErrorCode: string | null
    readonly cloudWallMs: number | null
  }
}

export interface RenewalOptions {
  readonly file: IdentityFile
  readonly gatewayId: string
  readonly uplink: RenewingUplink
  /** How often it is looked whether something is to be done. Default 2,000. */
  readonly lookMs?: number
  /** Wait after a failure that may pass. Default 1 minute to 1 hour. */
  readonly retry?: BackoffPolicy
  /** Wait after a refusal. Default 1 to 6 hours. */
  readonly refusedRetry?: BackoffPolicy
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** How renewing stands. */
export interface RenewalStats {
  /** When the next certificate is asked for, Unix milliseconds; null when there is none to renew. */
  readonly renewAtMs: number | null
  readonly validity: Validity | null
  readonly underWay: boolean
  readonly lastError: string | null
  /** Whether the last attempt was refused, which trying again seldom mends. */
  readonly refused: boolean
  readonly renewals: number
}

/** A certificate that is held, with its own moment of renewal. */
interface Held {
  readonly certificate: string
  readonly validity: Validity
  readonly renewAt: number
}

const LOOK_MS = 2_000
/** What the uplink says when the cloud does not take a certificate whose dates do not hold, see uplink/failure.ts. */
const DATES_REFUSED = 'UPLINK_CERTIFICATE_DATES'
/** A key that was asked for longer ago is not tried again: the cloud takes it for an old one. */
const KEY_KEPT_MS = HOUR_MS / 2
const RETRY: BackoffPolicy = { baseMs: HOUR_MS / 60, capMs: HOUR_MS }
const REFUSED_RETRY: BackoffPolicy = { baseMs: HOUR_MS, capMs: 6 * HOUR_MS }

export class CertificateRenewal implements Part {
  readonly name = 'renewal'
  private readonly options: RenewalOptions
  private timer: Timer | null = null
  private held: Held | null = null
  private underWay = false
  private attempt = 0
  private retryAt = Number.NEGATIVE_INFINITY
  private lastError: BusbarError | null = null
  private renewals = 0
  /** Asked for already: should the answer have been lost, the cloud gives the same key the same certificate again. */
  private asked: { readonly privateKey: string; readonly atMs: number } | null = null

  constructor(options: RenewalOptions) {
    this.options = options
  }

  start(): Promise<void> {
    this.timer ??= this.options.clock.every(this.options.lookMs ?? LOOK_MS, () => this.look())
    this.look()
    return Promise.resolve()
  }

  /** An answer that is on its way is still stored when it comes: the cloud has made the certificate already. */
  stop(): Promise<void> {
    this.timer?.cancel()
    this.timer = null
    return Promise.resolve()
  }

  stats(): RenewalStats {
    const { held, underWay, lastError, renewals } = this
    return {
      renewAtMs: held?.renewAt ?? null,
      validity: held?.validity ?? null,
      underWay,
      lastError: lastError?.message ?? null,
      refused: lastError !== null && !lastError.retryable,
      renewals,
    }
  }

  private look(): void {
    const { file, clock } = this.options
    let identity: EnrolledIdentity
    try {
      file.look()
      identity = enrolled(file, this.options.gatewayId)
    } catch {
      // The uplink, which needs the same file, says so.
      this.held = null
      return
    }
    const held = this.hold(identity)
    if (held === null || this.underWay || clock.monotonicMs() < this.retryAt) return
    const { connected, lastErrorCode } = this.options.uplink.stats()
    const state = stateAt(held.validity, held.renewAt, this.nowMs())
    if (connected && (state === 'due' || state === 'expired')) this.attemptBy('uplink', identity)
    // Not before the uplink was tried: the clock may be ahead, and the cloud take the certificate all the same.
    else if (!connected && lastErrorCode !== null && (state === 'expired' || this.isOutOfDates(held, lastErrorCode))) {
      this.attemptBy('api', identity)
    }
  }

  /** Whether the cloud does not take it and the clock here agrees: then the clock of the cloud was wrong when they last spoke. */
  private isOutOfDates({ validity, renewAt }: Held, lastErrorCode: string): boolean {
    if (lastErrorCode !== DATES_REFUSED) return false
    const state = stateAt(validity, renewAt, this.options.clock.wallMs())
    return state === 'expired' || state === 'notYetValid'
  }

  /** The cloud's clock where it is known, since it is the cloud that judges; after a start there is only our own. */
  private nowMs(): number {
    return this.options.uplink.stats().cloudWallMs ?? this.options.clock.wallMs()
  }

  private hold({ certificate }: EnrolledIdentity): Held | null {
    if (this.held?.certificate === certificate) return this.held
    const validity = validityIn(certificate)
    if (validity === null) return null
    this.held = { certificate, validity, renewAt: renewAtMs(validity, this.options.random.fraction()) }
    // Another certificate, from here or from `busbar-edge enroll`: what was wrong with the one before is over.
    this.asked = null
    this.attempt = 0
    this.retryAt = Number.NEGATIVE_INFINITY
    this.lastError = null
    return this.held
  }

  private attemptBy(way: 'uplink' | 'api', identity: EnrolledIdentity): void {
    this.underWay = true
    const renewing = way === 'uplink' ? this.overUplink(identity) : this.overApi(identity)
    renewing
      .then(
        (validity) => this.succeeded(way, validity),
        (error: unknown) => this.failed(way, error),
      )
      .finally(() => {
        this.underWay = false
      })
  }

  private async overUplink(identity: EnrolledIdentity): Promise<Validity> {
    const privateKey = this.nextKey()
    const answer = await this.options.uplink.requestCertificate(await signingRequest(privateKey, identity.gatewayId))
    return this.store(identity, { ...answer, authority: answer.authority || identity.authority }, privateKey)
  }

  private async overApi(identity: EnrolledIdentity): Promise<Validity> {
    const authority = answeredCertificates(identity.authority)
    const trust = { authority, serverName: CLOUD_SERVER_NAME, others: identity.apiAuthority }
    const api = new EnrolmentApi(apiUrl(identity.url), trust, this.options.clock)
    const privateKey = this.nextKey()
    const request = await signingRequest(privateKey, identity.gatewayId)
    const challenge = await api.challenge()
    const answer = await api.renew({
      certificatePem: identity.certificate,
      csrPem: requestPem(request),
      challenge,
      signature: renewalProof(identity.privateKey, challenge, request),
    })
    const { serverName, ingestAddress } = answer
    return this.store(
      { ...identity, serverName, ingestAddress: ingestAddress ?? identity.ingestAddress },
      answer,
      privateKey,
    )
  }

  private nextKey(): string {
    const nowMs = this.options.clock.monotonicMs()
    if (this.asked === null || nowMs - this.asked.atMs > KEY_KEPT_MS) {
      this.asked = { privateKey: newPrivateKey(), atMs: nowMs }
    }
    return this.asked.privateKey
  }

  /** The identity with its new certificate, durable before the uplink is told of it. */
  private store(identity: EnrolledIdentity, answer: IssuedCertificate, privateKey: string): Validity {
    const { certificate, authority } = answer
    const validity = checkIssued(answer, privateKey, identity.gatewayId)
    // Somebody may have enrolled the gateway anew meanwhile: theirs is the one that counts.
    const { file } = this.options
    if (file.read()?.certificate === identity.certificate)
      file.write({ ...identity, privateKey, certificate, authority })
    return validity
  }

  private succeeded(way: string, { notAfterMs }: Validity): void {
    const { clock, log, file } = this.options
    this.renewals++
    this.asked = null
    this.attempt = 0
    this.lastError = null
    // One that is due at once, since the cloud gives very short ones, is not asked for without end.
    this.look()
    this.retryAt = clock.monotonicMs() + (this.options.retry ?? RETRY).baseMs
    log.info({ way, file: file.path, notAfter: new Date(notAfterMs).toISOString() }, 'certificate renewed')
  }

  private failed(way: string, error: unknown): void {
    const { clock, random, log, retry = RETRY, refusedRetry = REFUSED_RETRY } = this.options
    const known =
      error instanceof BusbarError
        ? error
        : new BusbarError(`the certificate was not renewed: ${messageOf(error)}`, {
            code: 'CERTIFICATE_NOT_RENEWED',
            retryable: true,
            cause: error,
          })
    if (!known.retryable) this.asked = null
    const policy = known.retryable ? retry : refusedRetry
    const delayMs = Math.max(policy.baseMs, fullJitterMs(this.attempt++, policy, random))
    this.retryAt = clock.monotonicMs() + delayMs
    const isNews = this.lastError?.code !== known.code
    this.lastError = known
    const { code, hint, message } = known
    const fields = { way, code, hint, error: message, delayMs: Math.round(delayMs) }
    if (isNews) log.warn(fields, 'certificate not renewed')
    else log.debug(fields, 'certificate not renewed')
  }
}
