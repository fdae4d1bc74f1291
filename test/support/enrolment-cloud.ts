/** The part of the cloud's API that enrols gateways, over real TLS, doing what a test tells it. */

import { createPublicKey, verify, X509Certificate } from 'node:crypto'
import { onTestFinished } from 'vitest'
import { type Dates, type MadeAuthority, type MadePair, makeAuthority } from './made-certificates.ts'

export const CLOUD_NAME = 'ingest.busbar.internal'

export interface EnrolmentCloud {
  readonly url: string
  readonly authority: MadeAuthority
  /** Paths that were asked for, in order. */
  readonly asked: string[]
  /** A new token, good once. */
  token(gatewayId?: string): string
  /** What is different from a cloud that works well. */
  set: {
    dates?: Dates
    /** Answers with this status and code instead. */
    problem?: { readonly status: number; readonly code: string; readonly detail: string } | undefined
    /** The certificate is made, and the answer to it is not sent. */
    loseAnswers?: boolean
    /** Shown instead of the authority. */
    shownAuthority?: MadeAuthority
    /** Signs instead of the authority. */
    signer?: MadeAuthority
    ingestAddress?: string | null
    /** Certificates that were renewed after their end may be so; see `renewals`. */
    refuseRenewal?: boolean
  }
  readonly issued: string[]
}

interface Token {
  readonly gatewayId: string
  /** Certificate by the request that it was made for. */
  used: { readonly csrKey: string; readonly certificatePem: string } | null
}

export async function enrolmentCloud(
  options: { authority?: MadeAuthority; server?: MadePair; plain?: boolean } = {},
): Promise<EnrolmentCloud> {
  const authority = options.authority ?? (await makeAuthority())
  const pair = options.server ?? (await authority.server([CLOUD_NAME]))
  const tokens = new Map<string, Token>()
  const challenge = 'challenge-1'
  let made = 0
  const refusal = (status: number, code: string, detail = code): Response =>
    Response.json({ type: 'about:blank', title: code, status, code, detail }, { status })

  const issue = async (csrPem: string, gatewayId: string): Promise<string> => {
    const certificatePem = await (cloud.set.signer ?? authority).sign(csrPem, gatewayId, cloud.set.dates)
    cloud.issued.push(certificatePem)
    return certificatePem
  }
  const answer = (gatewayId: string, certificatePem: string): Response => {
    if (cloud.set.loseAnswers === true) return new Response(null, { status: 502 })
    const { ingestAddress = '127.0.0.1:7443' } = cloud.set
    const notAfter = new Date(new X509Certificate(certificatePem).validTo).toISOString()
    const authorityPem = authority.ca
    const body = { gatewayId, certificatePem, authorityPem, ingestAddress, serverName: CLOUD_NAME, notAfter }
    return Response.json(body, { status: 201 })
  }

  const redeem = async (body: { token: string; csrPem: string }): Promise<Response> => {
    const token = tokens.get(body.token)
    if (token === undefined) return refusal(403, 'ENROLMENT_TOKEN_INVALID')
    const csrKey = body.csrPem
    const key = await publicKeyOf(csrKey)
    if (token.used !== null) {
      if (token.used.csrKey !== key) return refusal(409, 'ENROLMENT_TOKEN_USED')
      return answer(token.gatewayId, token.used.certificatePem)
    }
    const certificatePem = await issue(body.csrPem, token.gatewayId)
    token.used = { csrKey: key, certificatePem }
    return answer(token.gatewayId, certificatePem)
  }
  const renew = async (
    body: Record<'certificatePem' | 'csrPem' | 'challenge' | 'signature', string>,
  ): Promise<Response> => {
    const old = new X509Certificate(body.certificatePem)
    const csr = Buffer.from(body.csrPem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64')
    const signed = Buffer.concat([Buffer.from(`busbar-renewal\n${body.challenge}\n`), csr])
    const proven = verify(
      'sha256',
      signed,
      { key: old.publicKey, dsaEncoding: 'der' },
      Buffer.from(body.signature, 'base64'),
    )
    if (!proven || body.challenge !== challenge) return refusal(403, 'RENEWAL_NOT_PROVEN')
    if (cloud.set.refuseRenewal === true) return refusal(403, 'RENEWAL_TOO_LATE', 'the time for renewing is over')
    const gatewayId = /CN=(.*)/.exec(old.subject)?.[1] ?? ''
    return answer(gatewayId, await issue(body.csrPem, gatewayId))
  }

  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    ...(options.plain === true ? {} : { tls: pair }),
    async fetch(request) {
      const path = new URL(request.url).pathname
      cloud.asked.push(path)
      if (cloud.set.problem !== undefined && request.method === 'POST') {
        const { status, code, detail } = cloud.set.problem
        return refusal(status, code, detail)
      }
      const body = request.method === 'POST' ? ((await request.json()) as never) : null
      if (path === '/api/v1/enrolment/authority') {
        return Response.json({ certificatePem: (cloud.set.shownAuthority ?? authority).ca })
      }
      if (body === null) return refusal(404, 'NOT_FOUND')
      if (path === '/api/v1/enrolment') return redeem(body)
      if (path === '/api/v1/enrolment/challenges') return Response.json({ challenge })
      if (path === '/api/v1/enrolment/renewals') return renew(body)
      return refusal(404, 'NOT_FOUND')
    },
  })
  onTestFinished(() => server.stop(true))
  const cloud: EnrolmentCloud = {
    url: `${options.plain === true ? 'http' : 'https'}://127.0.0.1:${server.port}`,
    authority,
    asked: [],
    issued: [],
    set: {},
    token(gatewayId = 'gw-1') {
      const token = `bbe.t${++made}.${'s3cret'.repeat(6)}.${authority.fingerprint}`
      tokens.set(token, { gatewayId, used: null })
      return token
    },
  }
  return cloud
}

async function publicKeyOf(csrPem: string): Promise<string> {
  const { loadX509 } = await import('../../shared/x509.ts')
  const { Pkcs10CertificateRequest } = await loadX509()
  const der = Buffer.from(new Pkcs10CertificateRequest(csrPem).publicKey.rawData)
  return createPublicKey({ key: der, format: 'der', type: 'spki' }).export({ type: 'spki', format: 'pem' }).toString()
}
