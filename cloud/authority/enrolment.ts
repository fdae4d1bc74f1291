/**
 * Enrolment: how a gateway gets its first certificate. An engineer makes a token for it, once to be redeemed, and carries it to
 * the machine; whoever comes with it gets a certificate for that gateway and the key that they show.
 */

import { timingSafeEqual } from 'node:crypto'
import type { Clock } from '../../shared/clock.ts'
import { DAY_MS, HOUR_MS } from '../../shared/durations.ts'
import type { Logger } from '../../shared/log.ts'
import { type Random, randomBase64url, randomHex } from '../../shared/random.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { IdentityError, type SecurityNotes } from '../identity/identity.ts'
import { InvalidRegistrationError } from '../registry/errors.ts'
import type { GatewaySites } from '../registry/gateway-sites.ts'
import type { AttemptLimit } from './attempt-limit.ts'
import { sha256Hex } from './certificate.ts'
import { type CheckedRequest, checkRequest, requestOfPem } from './certificate-request.ts'
import type { CertificateStore } from './certificate-store.ts'
import { tokenExpired, tokenInvalid, tokenUsed } from './errors.ts'
import type { Issuance, IssuedCertificate } from './issuance.ts'
import type { Authority } from './signing-authority.ts'
import { giveSites } from './sites-given.ts'
import type { EnrolmentToken, StoredToken, TokenStore } from './token-store.ts'

export interface EnrolmentOptions {
  readonly database: DatabaseHandle
  readonly gatewaySites: GatewaySites
  readonly authority: Authority
  readonly issuance: Issuance
  readonly certificates: CertificateStore
  readonly tokens: TokenStore
  readonly attempts: AttemptLimit
  readonly events: SecurityNotes
  /** How long a token is good where the request does not say. */
  readonly tokenHours: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface NewToken {
  readonly gatewayId: string
  /** The gateway speaks for these and no others from now on; undefined leaves them as they are. */
  readonly siteIds?: readonly number[] | undefined
  readonly expiresInHours?: number | undefined
  readonly createdBy: string
}

/** Ids with which a gateway is admitted. */
const GATEWAY_ID = /^[A-Za-z0-9._-]{1,64}$/
const TOKEN = /^bbe\.([0-9a-f]{16})\.([A-Za-z0-9_-]{43})\.[A-Za-z0-9_-]{43}$/
/** Tokens of one gateway that could be redeemed at one time. */
const OPEN_MAX = 20
/** How long an expired token can still be told from one that never was. */
const KEPT_MS = 90 * DAY_MS

export class Enrolment {
  private readonly options: EnrolmentOptions

  constructor(options: EnrolmentOptions) {
    this.options = options
  }

  /**
   * Registers the gateway when it is new. The token itself is in the answer and nowhere else.
   * @throws InvalidRegistrationError, IdentityError AUTHORITY_CANNOT_ISSUE, ENROLMENT_TOKENS_MAX, GATEWAY_WITHOUT_SITES
   */
  async createToken(given: NewToken): Promise<{ readonly token: string; readonly stored: EnrolmentToken }> {
    const { database, gatewaySites, authority, tokens, tokenHours, clock, random, log } = this.options
    const { gatewayId, siteIds, expiresInHours = tokenHours, createdBy } = given
    authority.requireIssuing()
    if (!GATEWAY_ID.test(gatewayId)) {
      const remedy = '1 to 64 letters, digits, ".", "_" or "-"'
      throw new InvalidRegistrationError([{ field: 'gatewayId', value: gatewayId, remedy }])
    }
    const id = randomHex(random, 8)
    const secret = randomBase64url(random, 32)
    const createdAtMs = Math.round(clock.wallMs())
    const expiresAtMs = createdAtMs + Math.round(expiresInHours * HOUR_MS)
    const row = { id, gatewayId, createdBy, createdAtMs, expiresAtMs }
    await database.transaction(async (transaction) => {
      await gatewaySites.register(gatewayId, transaction)
      if (siteIds !== undefined) await giveSites(this.options, gatewayId, siteIds, createdAtMs, transaction)
      if ((await gatewaySites.given(gatewayId, transaction)).length === 0) throw withoutSites(gatewayId)
      if ((await tokens.countOpen(gatewayId, createdAtMs, transaction)) >= OPEN_MAX) throw tooMany(gatewayId)
      await tokens.deleteEndedBefore(createdAtMs - KEPT_MS, transaction)
      await tokens.insert({ ...row, secretHash: sha256Hex(secret) }, transaction)
    })
    log.info({ gatewayId, token: id, siteIds, by: createdBy }, 'an enrolment token was made')
    const fingerprint = Buffer.from(sha256Hex(authority.issuer.anchor.raw), 'hex').toString('base64url')
    const stored = { ...row, revokedAtMs: null, redeemedAtMs: null, redeemedFrom: null }
    return { token: `bbe.${id}.${secret}.${fingerprint}`, stored }
  }

  /** The newest first, at most 1,000. */
  listTokens(gatewayId: string): Promise<EnrolmentToken[]> {
    return this.options.tokens.list(gatewayId)
  }

  /** False when the gateway has no such token. What was redeemed stays so: revoke the certificate. */
  revokeToken(gatewayId: string, tokenId: string): Promise<boolean> {
    return this.options.tokens.revoke(gatewayId, tokenId, Math.round(this.options.clock.wallMs()))
  }

  /**
   * A certificate for whoever comes with a token. The same key gets the same certificate again while the token is good, since
   * the answer may have been lost; another key gets nothing, and it is told as what it most likely is.
   * @param from address of whoever asks.
   * @throws IdentityError ENROLMENT_TOKEN_INVALID, ENROLMENT_TOKEN_EXPIRED, ENROLMENT_TOKEN_USED, CERTIFICATE_REQUEST_REFUSED,
   * TOO_MANY_REQUESTS, AUTHORITY_CANNOT_ISSUE
   */
  async redeem(given: { readonly token: string; readonly csrPem: string }, from: string): Promise<IssuedCertificate> {
    const { database, authority, issuance, tokens, attempts, clock, log } = this.options
    attempts.check(from)
    authority.requireIssuing()
    const token = await this.tokenOf(given.token, from)
    if (token.expiresAtMs <= clock.wallMs()) throw tokenExpired()
    const request = await checkRequest(requestOfPem(given.csrPem))
    if (token.redeemedAtMs !== null) return this.redeemedBefore(token, request, from)
    const certificate = await issuance.sign(token.gatewayId, request, 'enrolment')
    const redemption = { atMs: Math.round(clock.wallMs()), from, keyHash: request.keyHash }
    const isOurs = await database.transaction(async (transaction) => {
      // Of two at once the second waits here for the first, and finds the token taken.
      if (!(await tokens.redeem(token.id, redemption, transaction))) return false
      await issuance.note(certificate, transaction)
      return true
    })
    if (isOurs) {
      const { gatewayId, serial } = certificate
      log.info({ gatewayId, serial, token: token.id, address: from }, 'a gateway enrolled')
      return issuance.answer(certificate)
    }
    const now = await tokens.find(token.id)
    if (now === null || now.revokedAtMs !== null) throw tokenInvalid()
    if (now.redeemedAtMs === null) throw tokenExpired()
    return this.redeemedBefore(now, request, from)
  }

  private async tokenOf(text: string, from: string): Promise<StoredToken> {
    const [, id = '', secret = ''] = TOKEN.exec(text.trim()) ?? []
    const stored = id === '' ? null : await this.options.tokens.find(id)
    const isRight = stored !== null && timingSafeEqual(Buffer.from(sha256Hex(secret)), Buffer.from(stored.secretHash))
    if (stored !== null && isRight && stored.revokedAtMs === null) return stored
    this.options.attempts.failed(from)
    const detail = isRight ? `the token was revoked; it was for ${stored?.gatewayId}` : 'the token is none of ours'
    this.options.events.note({ kind: 'enrolment-token-refused', subject: from, detail, address: from })
    throw tokenInvalid()
  }

  private async redeemedBefore(token: StoredToken, request: CheckedRequest, from: string): Promise<IssuedCertificate> {
    const { certificates, issuance, events } = this.options
    const { gatewayId, redeemedFrom } = token
    if (token.redeemedKey === request.keyHash) {
      const known = await certificates.ofKey(request.keyHash)
      const certificate = known.find((each) => each.gatewayId === gatewayId && each.issuedFor === 'enrolment')
      if (certificate?.revokedAtMs === null) return issuance.answer(certificate)
      throw tokenInvalid()
    }
    events.note({
      kind: 'enrolment-token-reused',
      subject: gatewayId,
      detail: `the enrolment token ${token.id} was redeemed from ${redeemedFrom}, and again from ${from} with another key`,
      address: from,
    })
    throw tokenUsed()
  }
}

function withoutSites(gatewayId: string): IdentityError {
  return new IdentityError('CONFLICT', `The gateway ${gatewayId} may not speak for any site.`, {
    code: 'GATEWAY_WITHOUT_SITES',
    hint: 'Say for which: siteIds, or busbar-cloud gateway token <gateway> --site <id>',
  })
}

function tooMany(gatewayId: string): IdentityError {
  return new IdentityError('CONFLICT', `The gateway ${gatewayId} has ${OPEN_MAX} tokens that are still good.`, {
    code: 'ENROLMENT_TOKENS_MAX',
    hint: 'Revoke those that nobody needs.',
  })
}
