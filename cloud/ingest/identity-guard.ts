/**
 * Who may speak on the uplink, and for which sites. Asked when a gateway is admitted, and again and again while its stream goes
 * on: what is revoked, has ended or was taken away ends streams that are open, on whichever core they are.
 */

import { status } from '@grpc/grpc-js'
import type { CertificateAnswer } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Clock, Timer } from '../../shared/clock.ts'
import { ComplaintLimit } from '../../shared/complaint-limit.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import {
  CertificateRefusedError,
  type GatewayIdentities,
  type GatewayIdentity,
  type Renewals,
} from '../authority/authority.ts'
import { IdentityError, type SecurityNotes } from '../identity/identity.ts'
import { includesSite, type SiteScope } from '../registry/site-scope.ts'
import type { IngestTls } from './listener.ts'
import { type Refusal, refusalOf } from './refusal.ts'

/** How gateways are known. */
export interface IngestSecurity {
  /** Asked at the start, and once a day for a newer certificate. */
  readonly tls: () => Promise<IngestTls>
  readonly identities: Pick<GatewayIdentities, 'admit' | 'recheck'>
  readonly renewals: Pick<Renewals, 'renew'>
  readonly events: SecurityNotes
  /** How long a revocation may go unnoticed by a stream. Default 2,000. */
  readonly recheckMs?: number
}

/** The sites that a gateway may speak for at this moment. */
export interface AllowedSites {
  includes(siteId: number): boolean
}

/** Of a gateway on this machine that needs no certificate. */
export const ANY_SITE: AllowedSites = { includes: () => true }

/** What the guard knows of a call. */
export interface GuardedCall {
  end(refusal: Refusal): void
}

export interface IdentityGuardOptions {
  /** Null takes any gateway at its word. */
  readonly security: IngestSecurity | null
  readonly clock: Clock
  readonly log: Logger
}

interface Held {
  readonly identity: GatewayIdentity
  readonly sites: CurrentSites
  /** A certificate is being made for it. */
  renewing: boolean
  /** Requests for one since then. */
  asked: { count: number; readonly sinceMs: number }
}

/**
 * Requests for a certificate on one stream: each is answered, and whoever sends thousands and reads no answer would fill the
 * memory. A gateway that renews needs one, and asks again after a minute.
 */
const REQUESTS_MAX = 20
const REQUESTS_PERIOD_MS = 60_000

export class IdentityGuard {
  private readonly options: IdentityGuardOptions
  private readonly held = new Map<GuardedCall, Held>()
  private readonly complaints: ComplaintLimit
  private timer: Timer | null = null
  private looking: Promise<void> | null = null

  constructor(options: IdentityGuardOptions) {
    this.options = options
    this.complaints = new ComplaintLimit(options.clock)
  }

  start(): void {
    const { security, clock } = this.options
    if (security !== null) this.timer ??= clock.every(security.recheckMs ?? 2_000, () => void this.recheck())
  }

  async stop(): Promise<void> {
    this.timer?.cancel()
    this.timer = null
    await this.looking
  }

  /** @throws CertificateRefusedError; BusbarError DATABASE_UNAVAILABLE */
  async admit(
    call: GuardedCall,
    dialling: { readonly certificate: Uint8Array | null; readonly claimedId: string; readonly address: string },
  ): Promise<AllowedSites> {
    const { security, clock } = this.options
    if (security === null) return ANY_SITE
    const identity = await security.identities.admit(dialling)
    const sites = new CurrentSites(identity.sites)
    this.held.set(call, { identity, sites, renewing: false, asked: { count: 0, sinceMs: clock.monotonicMs() } })
    return sites
  }

  left(call: GuardedCall): void {
    this.held.delete(call)
  }

  /** Never rejects: what cannot be had is told in words, and asked for again later. */
  async renew(call: GuardedCall, csrDer: Uint8Array): Promise<CertificateAnswer> {
    const { security, log } = this.options
    const held = this.held.get(call)
    if (security === null || held === undefined) return refused('this cloud takes gateways without certificates')
    if (this.asksTooOften(held)) {
      const details = `more than ${REQUESTS_MAX} requests for a certificate in ${REQUESTS_PERIOD_MS} ms`
      call.end({ code: status.RESOURCE_EXHAUSTED, details })
      return refused(details)
    }
    if (held.renewing) return NOT_NOW
    held.renewing = true
    try {
      const { certificatePem, authorityPem } = await security.renewals.renew(held.identity, csrDer)
      return { certificatePem, authorityPem, refusal: '' }
    } catch (error) {
      const { gatewayId } = held.identity
      log.warn({ gatewayId, error: messageOf(error) }, 'a certificate is not renewed')
      return mayPass(error) ? NOT_NOW : refused(refusalOf(error).details)
    } finally {
      held.renewing = false
    }
  }

  private asksTooOften(held: Held): boolean {
    const nowMs = this.options.clock.monotonicMs()
    if (nowMs - held.asked.sinceMs >= REQUESTS_PERIOD_MS) held.asked = { count: 0, sinceMs: nowMs }
    return ++held.asked.count > REQUESTS_MAX
  }

  /** Looks at all streams at once. Never rejects: while nobody can tell, streams go on and are looked at again. */
  recheck(): Promise<void> {
    this.looking ??= this.look()
      .catch((error: unknown) => {
        if (!this.complaints.isDue()) return
        this.options.log.warn({ error: messageOf(error) }, 'certificates of connected gateways cannot be looked at')
      })
      .finally(() => {
        this.looking = null
      })
    return this.looking
  }

  private async look(): Promise<void> {
    const { security } = this.options
    const calls = [...this.held]
    if (security === null || calls.length === 0) return
    const standings = await security.identities.recheck(calls.map(([, { identity }]) => identity))
    for (const [call, { identity, sites }] of calls) {
      const now = standings.get(identity)
      if (now instanceof CertificateRefusedError) call.end(refusalOf(now))
      else if (now !== undefined) sites.current = now
    }
  }
}

/** Asked for every topic of a block, so it is a look into memory; what it looks at changes by the recheck. */
class CurrentSites implements AllowedSites {
  current: SiteScope

  constructor(current: SiteScope) {
    this.current = current
  }

  includes(siteId: number): boolean {
    return includesSite(this.current, siteId)
  }
}

/** What a handshake failed for, when it is the fault of a certificate and not of the network or of a scanner. */
export function isCertificateFault(code: string): boolean {
  return /^CERT_|^UNABLE_TO_|SELF_SIGNED|^INVALID_(CA|PURPOSE)|CERTIFICATE|^ERR_SSL_.*_CA$/.test(code)
}

export const STOPPING: Refusal = { code: status.UNAVAILABLE, details: 'the cloud is stopping' }

/** Nothing is wrong with the gateway, so it need not tell its people. */
const NOT_NOW: CertificateAnswer = { certificatePem: '', authorityPem: '', refusal: '' }

/** Whether asking again soon may bring a certificate: the database is away, say. */
function mayPass(error: unknown): boolean {
  if (error instanceof IdentityError) return error.retryAfter !== undefined
  return !(error instanceof BusbarError) || error.retryable
}

function refused(refusal: string): CertificateAnswer {
  return { certificatePem: '', authorityPem: '', refusal }
}
