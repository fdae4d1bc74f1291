/** One request to the API of the cloud over TLS that is checked the way enrolment needs, on a connection of its own. */

import { X509Certificate } from 'node:crypto'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import { checkServerIdentity, getCACertificates, type PeerCertificate } from 'node:tls'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { isLoopback } from '../../shared/loopback.ts'
import { CHAIN_MAX, leadsTo } from './certificates.ts'
import { tlsFailureIn } from './tls-failure.ts'

/** What the API is trusted by, besides the system's certificates. */
export interface ApiTrust {
  /** The authority of the gateways: what it signed for a server may carry `serverName` instead of the host of the URL. */
  readonly authority: readonly X509Certificate[]
  readonly serverName: string
  /** Others, PEM; null for none. */
  readonly others: string | null
}

export interface ApiRequest {
  readonly url: URL
  /** Absent for a GET. */
  readonly body?: object
  /** 'nobody' checks nothing: for what is held against a fingerprint, and tells no secret. */
  readonly trust: ApiTrust | 'nobody'
  readonly clock: Clock
}

export interface ApiAnswer {
  readonly status: number
  /** Null when it is no JSON object. */
  readonly body: Readonly<Record<string, unknown>> | null
}

const ANSWER_TIMEOUT_MS = 15_000
const ANSWER_BYTES_MAX = 256 * 1024
/** Nothing here shows a certificate; what is there for gateways that have one is mistaken for the API easily. */
const WANTS_CERTIFICATE = {
  said: 'takes nobody without a certificate, as the ingest does, and the API does not',
  hint: 'Give the address of the API, which listens on another port than the ingest. The token is still good.',
}

/** The base of an API that secrets may be sent to. @throws BusbarError ENROLMENT_URL_INVALID */
export function apiUrl(text: string): URL {
  const invalid = (why: string, hint: string): BusbarError =>
    new BusbarError(`the URL of the cloud ${why}`, { code: 'ENROLMENT_URL_INVALID', hint })
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw invalid(`is ${JSON.stringify(text)}, which is none`, 'Give it as https://cloud.example or https://host:port.')
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    throw invalid('is without TLS: anybody on the way could take the token', 'Begin it with https://.')
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw invalid('has more in it than a place', 'Give it as https://cloud.example or https://host:port.')
  }
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return url
}

/**
 * The answer, whatever its status; redirects are not followed.
 * @throws BusbarError ENROLMENT_UNREACHABLE, ENROLMENT_TLS_*, retryable.
 */
export function askApi(options: ApiRequest): Promise<ApiAnswer> {
  const { url, body, trust, clock } = options
  const { promise, resolve, reject } = Promise.withResolvers<ApiAnswer>()
  const text = body === undefined ? undefined : JSON.stringify(body)
  const settings: RequestOptions = {
    method: text === undefined ? 'GET' : 'POST',
    // None is kept: the next request is trusted by other means.
    agent: false,
    headers: {
      accept: 'application/json',
      ...(text === undefined
        ? {}
        : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(text)) }),
    },
    ...(url.protocol === 'http:' ? {} : tlsOf(trust)),
  }
  const request = url.protocol === 'http:' ? httpRequest(url, settings) : httpsRequest(url, settings)
  const timer = clock.after(ANSWER_TIMEOUT_MS, () => request.destroy(new Error('no answer in time')))
  request.on('error', (error) => reject(unreachable(url, error)))
  request.on('response', (response) => {
    readAnswer(response).then(resolve, (error: unknown) => {
      request.destroy()
      reject(unreachable(url, error))
    })
  })
  request.end(text)
  return promise.finally(() => timer.cancel())
}

function tlsOf(trust: ApiTrust | 'nobody'): RequestOptions {
  if (trust === 'nobody') return { rejectUnauthorized: false }
  const { authority, serverName, others } = trust
  const system = new Set([...getCACertificates('default'), ...getCACertificates('system')])
  return {
    ca: [...authority.map(String), ...(others === null ? [] : [others]), ...system],
    checkServerIdentity: (host, certificate) => {
      const mismatch = checkServerIdentity(host, certificate)
      return mismatch !== undefined && isCloud(certificate, authority, serverName) ? undefined : mismatch
    },
  }
}

/** A certificate of the cloud itself, dialled by whatever name or address leads there. */
function isCloud(certificate: PeerCertificate, authority: readonly X509Certificate[], serverName: string): boolean {
  const [own, ...between] = shownChain(certificate) as [X509Certificate, ...X509Certificate[]]
  return own.checkHost(serverName) !== undefined && leadsTo(own, between, authority)
}

/** The certificate and what the server sent with it. */
function shownChain(certificate: PeerCertificate): X509Certificate[] {
  const chain: X509Certificate[] = []
  let next: PeerCertificate | undefined = certificate
  while (next?.raw !== undefined && chain.length < CHAIN_MAX) {
    chain.push(new X509Certificate(next.raw))
    const above: PeerCertificate | undefined =
      'issuerCertificate' in next ? (next.issuerCertificate as never) : undefined
    next = above === next ? undefined : above
  }
  return chain
}

async function readAnswer(response: IncomingMessage): Promise<ApiAnswer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > ANSWER_BYTES_MAX) throw new Error(`the answer is larger than ${ANSWER_BYTES_MAX} bytes`)
    chunks.push(chunk)
  }
  return { status: response.statusCode ?? 0, body: objectIn(Buffer.concat(chunks).toString()) }
}

function objectIn(text: string): ApiAnswer['body'] {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}

function unreachable(url: URL, error: unknown): BusbarError {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const failure = tlsFailureIn(`${code} ${messageOf(error)}`)
  if (failure !== null) {
    const { said, hint } = failure.code === 'REFUSED' ? WANTS_CERTIFICATE : failure
    return new BusbarError(`what answers at ${url.origin} ${said}`, {
      code: `ENROLMENT_TLS_${failure.code}`,
      retryable: true,
      hint,
      cause: error,
    })
  }
  return new BusbarError(`the cloud does not answer at ${url.origin}: ${messageOf(error)}`, {
    code: 'ENROLMENT_UNREACHABLE',
    retryable: true,
    hint: 'Check the URL, the network and the firewall, then try again: a token that was not answered for is still good.',
    cause: error,
  })
}
