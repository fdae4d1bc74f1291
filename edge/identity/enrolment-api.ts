/** What the cloud's API does for the identity of a gateway: showing its authority, redeeming a token, renewing what has ended. */

import type { X509Certificate } from 'node:crypto'
import { isIssuedBy } from '../../shared/certificates.ts'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { answeredCertificates, fingerprintOf } from './certificates.ts'
import { type ApiAnswer, type ApiTrust, askApi } from './https-request.ts'

/** Name that every certificate of the cloud carries when its authority is Busbar's own. */
export const CLOUD_SERVER_NAME = 'ingest.busbar.internal'

export interface EnrolmentAnswer {
  readonly gatewayId: string
  readonly certificate: string
  readonly authority: string
  readonly ingestAddress: string | null
  readonly serverName: string
}

export interface RenewalRequest {
  readonly certificatePem: string
  readonly csrPem: string
  readonly challenge: string
  readonly signature: string
}

/**
 * The authority of the cloud, known by its fingerprint: it, then those above it. Nothing is trusted to get here.
 * @throws BusbarError AUTHORITY_MISMATCH, and what `askApi` throws.
 */
export async function pinnedAuthority(base: URL, fingerprint: string, clock: Clock): Promise<X509Certificate[]> {
  const answer = await askApi({ url: new URL('api/v1/enrolment/authority', base), trust: 'nobody', clock })
  const shown = answer.body?.['certificatePem']
  if (answer.status !== 200 || typeof shown !== 'string') throw problem(base, answer)
  let certificates: X509Certificate[]
  try {
    certificates = answeredCertificates(shown)
  } catch (cause) {
    throw notUnderstood(base, messageOf(cause))
  }
  const pinned = certificates.find((certificate) => fingerprintOf(certificate) === fingerprint)
  if (pinned === undefined) {
    throw new BusbarError(`the authority that ${base.origin} shows is not the one that the token was made with`, {
      code: 'AUTHORITY_MISMATCH',
      hint: 'The token was not sent. Either it is of another cloud, or somebody is in between: compare from another network.',
    })
  }
  const chain = [pinned]
  for (const above of certificates) {
    const top = chain.at(-1) as X509Certificate
    if (above !== top && isIssuedBy(top, above)) chain.push(above)
  }
  return chain
}

export class EnrolmentApi {
  private readonly base: URL
  private readonly trust: ApiTrust
  private readonly clock: Clock

  constructor(base: URL, trust: ApiTrust, clock: Clock) {
    this.base = base
    this.trust = trust
    this.clock = clock
  }

  /** @throws BusbarError ENROLMENT_TOKEN_*, ENROLMENT_REFUSED, ENROLMENT_BUSY, and what `askApi` throws. */
  async redeem(token: string, csrPem: string): Promise<EnrolmentAnswer> {
    return this.issued(await this.post('enrolment', { token, csrPem }))
  }

  /** Something to sign, good for some minutes. @throws as `redeem`. */
  async challenge(): Promise<string> {
    const answer = await this.post('enrolment/challenges', {})
    const challenge = answer.body?.['challenge']
    if (answer.status >= 300 || typeof challenge !== 'string') throw problem(this.base, answer)
    return challenge
  }

  /** @throws as `redeem`. */
  async renew(request: RenewalRequest): Promise<EnrolmentAnswer> {
    return this.issued(await this.post('enrolment/renewals', request))
  }

  private post(path: string, body: object): Promise<ApiAnswer> {
    return askApi({ url: new URL(`api/v1/${path}`, this.base), body, trust: this.trust, clock: this.clock })
  }

  private issued(answer: ApiAnswer): EnrolmentAnswer {
    const { status, body } = answer
    if (status !== 200 && status !== 201) throw problem(this.base, answer)
    const { gatewayId, certificatePem, authorityPem, ingestAddress = null, serverName } = body ?? {}
    const complete =
      typeof gatewayId === 'string' &&
      typeof certificatePem === 'string' &&
      typeof authorityPem === 'string' &&
      typeof serverName === 'string' &&
      (ingestAddress === null || typeof ingestAddress === 'string')
    if (!complete) throw notUnderstood(this.base, `HTTP ${status}`)
    return { gatewayId, certificate: certificatePem, authority: authorityPem, ingestAddress, serverName }
  }
}

const TOKEN_PROBLEMS: Readonly<Record<string, readonly [said: string, hint: string]>> = {
  ENROLMENT_TOKEN_INVALID: ['the cloud does not know this token', 'Copy it whole, or have a new one made.'],
  ENROLMENT_TOKEN_EXPIRED: ['this token is not good any more', 'Have a new one made.'],
  ENROLMENT_TOKEN_USED: [
    'this token was used already, with another key',
    'If that was not you, revoke the gateway in the cloud: somebody else had the token. Then have a new one made.',
  ],
}

function problem(base: URL, { status, body }: ApiAnswer): BusbarError {
  const code = typeof body?.['code'] === 'string' ? body['code'] : ''
  const known = TOKEN_PROBLEMS[code]
  if (known !== undefined) return new BusbarError(known[0], { code, hint: known[1] })
  const detail = shown(body?.['detail']) || shown(body?.['title']) || `HTTP ${status}`
  if (status === 429 || status >= 500) {
    return new BusbarError(`the cloud at ${base.origin} cannot answer at present: ${detail}`, {
      code: 'ENROLMENT_BUSY',
      retryable: true,
      hint: 'Try again in a minute: a token that was not answered for is still good.',
    })
  }
  if (body === null || code === '' || (status === 404 && code === 'NOT_FOUND')) return notUnderstood(base, detail)
  return new BusbarError(`the cloud at ${base.origin} refuses: ${detail}`, {
    code: 'ENROLMENT_REFUSED',
    hint: shown(body['hint']) || 'Look into the log of the cloud.',
  })
}

function notUnderstood(base: URL, what: string): BusbarError {
  return new BusbarError(`what answers at ${base.origin} is no API of Busbar that enrols gateways: ${what}`, {
    code: 'ENROLMENT_NOT_UNDERSTOOD',
    retryable: true,
    hint: 'Give the URL of the API (its port, not that of the ingest), and see that cloud and edge have matching versions.',
  })
}

/** What somebody else wrote, fit for a terminal and a log. */
function shown(text: unknown): string {
  return typeof text === 'string' ? text.replaceAll(/[^\x20-\x7e\u00a0-\uffff]/g, ' ').slice(0, 300) : ''
}
