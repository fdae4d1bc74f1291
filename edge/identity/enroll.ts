/**
 * Enrolment: a key is made here and written down, then a one-time token is exchanged for its certificate. The key comes
 * first, so that an answer that was lost can be asked for again: the cloud gives the same key the same certificate.
 */

import type { X509Certificate } from 'node:crypto'
import type { Validity } from '../../shared/certificates.ts'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import { checkIssued } from './certificates.ts'
import { CLOUD_SERVER_NAME, type EnrolmentAnswer, EnrolmentApi, pinnedAuthority } from './enrolment-api.ts'
import { type EnrolmentToken, parseToken } from './enrolment-token.ts'
import { apiUrl } from './https-request.ts'
import type { EnrolledIdentity, IdentityFile } from './identity-file.ts'
import { newPrivateKey, requestPem, signingRequest } from './signing-request.ts'
import { stateAt } from './validity.ts'

export interface EnrolmentOptions {
  readonly file: IdentityFile
  readonly gatewayId: string
  /** API of the cloud. */
  readonly url: string
  /** As the cloud showed it. */
  readonly token: string
  /** What the API is trusted by besides the system's certificates and the authority, PEM; null for nothing else. */
  readonly apiAuthority: string | null
  /** Take the place of an identity that is there. */
  readonly replace: boolean
  readonly clock: Clock
}

export interface Enrolment {
  readonly identity: EnrolledIdentity
  readonly validity: Validity
  /** By the clock here; when the certificate is not good yet or any more, the clock is wrong. */
  readonly clockIsWrong: boolean
}

/**
 * The identity is durable when it resolves. A running gateway sees it by itself.
 * @throws BusbarError IDENTITY_EXISTS, ENROLMENT_*, AUTHORITY_MISMATCH, GATEWAY_ID_DIFFERS, CERTIFICATE_ANSWER_WRONG,
 * IDENTITY_NOT_WRITTEN
 */
export async function enrollGateway(options: EnrolmentOptions): Promise<Enrolment> {
  const { file, gatewayId, apiAuthority, clock } = options
  const url = apiUrl(options.url)
  const token = parseToken(options.token)
  if (!options.replace) refuseSecond(file)
  const authority = await pinnedAuthority(url, token.authorityFingerprint, clock)
  const privateKey = keyFor(token, file)
  const request = requestPem(await signingRequest(privateKey, gatewayId))
  const trust = { authority, serverName: CLOUD_SERVER_NAME, others: apiAuthority }
  const answer = await new EnrolmentApi(url, trust, clock).redeem(token.text, request)
  const validity = checkAnswer(answer, authority, privateKey, gatewayId)
  const identity: EnrolledIdentity = {
    gatewayId,
    url: url.href,
    apiAuthority,
    ingestAddress: answer.ingestAddress,
    serverName: answer.serverName,
    privateKey,
    certificate: answer.certificate,
    authority: answer.authority,
  }
  file.write(identity)
  const state = stateAt(validity, Number.POSITIVE_INFINITY, clock.wallMs())
  return { identity, validity, clockIsWrong: state !== 'good' }
}

function refuseSecond(file: IdentityFile): void {
  const present = file.read()
  if (present === null) return
  throw new BusbarError(`gateway ${present.gatewayId} is enrolled here already, at ${present.url}`, {
    code: 'IDENTITY_EXISTS',
    hint: 'Its certificate renews itself. To take a new identity all the same, add --replace.',
  })
}

/** The key that was made for this token before, whose certificate may only have got lost on the way, or a new one. */
function keyFor(token: EnrolmentToken, file: IdentityFile): string {
  const pending = file.pendingKey(token.id)
  if (pending !== null) return pending
  const privateKey = newPrivateKey()
  file.writePending({ tokenId: token.id, privateKey })
  return privateKey
}

function checkAnswer(
  answer: EnrolmentAnswer,
  pinned: readonly X509Certificate[],
  privateKey: string,
  gatewayId: string,
): Validity {
  if (answer.gatewayId !== gatewayId) {
    throw new BusbarError(`the token is for gateway ${answer.gatewayId}, and gateway.id here is ${gatewayId}`, {
      code: 'GATEWAY_ID_DIFFERS',
      hint: `Set gateway.id to ${answer.gatewayId} and run this again with the same token, or have a token made for ${gatewayId}.`,
    })
  }
  // Held against the authority of the token, not that of the answer: only the token did not come over the network.
  const authority = pinned.map(String).join('')
  return checkIssued({ certificate: answer.certificate, authority }, privateKey, gatewayId)
}
