/** A small ingest over real mTLS that counts what it takes, and answers requests for certificates as a test tells it. */

import { X509Certificate } from 'node:crypto'
import { type handleBidiStreamingCall, Server, ServerCredentials, status } from '@grpc/grpc-js'
import { onTestFinished } from 'vitest'
import {
  type CertificateAnswer,
  type SessionRequest,
  type SessionResponse,
  UplinkServiceService,
  Lane as WireLane,
} from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { SequenceRange } from '../../shared/lanes.ts'
import { addRange } from '../../shared/sequence-ranges.ts'
import { CLOUD_NAME } from './enrolment-cloud.ts'
import type { MadeAuthority, MadePair } from './made-certificates.ts'

export interface CertifyingIngest {
  readonly port: number
  /** Serial numbers of the certificates that sessions came with, in order. */
  readonly sessions: string[]
  readonly requests: Buffer[]
  /** How often each telemetry record was taken, by sequence. */
  readonly taken: Map<number, number>
  /** Records that were acknowledged, by ranges. */
  received: SequenceRange[]
  /** What is different from an ingest that works well. */
  set: {
    answer: (csrDer: Buffer) => Promise<Partial<CertificateAnswer>> | 'nothing'
    /** Its wall clock, Unix milliseconds. */
    wallMs?: () => number
    /** Ends every session of these with UNAUTHENTICATED. */
    revoked: Set<string>
  }
  /** Cuts every connection. */
  stop(): void
}

export async function certifyingIngest(
  authority: MadeAuthority,
  options: { server?: MadePair; answer?: CertifyingIngest['set']['answer'] } = {},
): Promise<CertifyingIngest> {
  const { cert, key } = options.server ?? (await authority.server([CLOUD_NAME]))
  const sign = async (csrDer: Buffer) => ({ certificatePem: await authority.sign(csrDer, 'gw-1') })
  const ingest: CertifyingIngest = {
    port: 0,
    sessions: [],
    requests: [],
    taken: new Map(),
    received: [],
    set: { answer: options.answer ?? sign, revoked: new Set() },
    stop: () => server.forceShutdown(),
  }
  const server = new Server()
  const session: handleBidiStreamingCall<SessionRequest, SessionResponse> = (call) => {
    const certificate = call.getAuthContext().sslPeerCertificate
    const serial = certificate?.raw === undefined ? 'none' : new X509Certificate(certificate.raw).serialNumber
    const send = (message: SessionResponse['message']): void => void call.write({ message })
    call.on('error', () => undefined)
    call.on('end', () => call.end())
    if (ingest.set.revoked.has(serial)) {
      call.emit('error', { code: status.UNAUTHENTICATED, details: 'the certificate of the gateway was revoked' })
      return
    }
    call.on('data', ({ message }: SessionRequest) => {
      if (message?.$case === 'hello') {
        ingest.sessions.push(serial)
        const cursors = [{ lane: WireLane.TELEMETRY, received: ingest.received }]
        const wallClockMs = Math.round(ingest.set.wallMs?.() ?? Date.now())
        send({ $case: 'welcome', value: { cursors, creditBytes: 1_000_000_000, wallClockMs, strictOrder: false } })
      } else if (message?.$case === 'block') {
        const { lane, firstSequence, recordCount } = message.value
        const range = { first: firstSequence, last: firstSequence + recordCount - 1 }
        for (let n = range.first; n <= range.last; n++) ingest.taken.set(n, (ingest.taken.get(n) ?? 0) + 1)
        ingest.received = addRange(ingest.received, range)
        send({ $case: 'ack', value: { lane, ranges: [range] } })
      } else if (message?.$case === 'certificateRequest') {
        ingest.requests.push(message.value.csrDer)
        const answer = ingest.set.answer(message.value.csrDer)
        if (answer === 'nothing') return
        void answer.then((value) =>
          send({ $case: 'certificateAnswer', value: { certificatePem: '', authorityPem: '', refusal: '', ...value } }),
        )
      }
    })
  }
  server.addService(UplinkServiceService, { session })
  const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(cert) }
  const credentials = ServerCredentials.createSsl(Buffer.from(authority.ca), [pair], true)
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error === null ? resolve(bound) : reject(error)))
  })
  onTestFinished(() => ingest.stop())
  return Object.assign(ingest, { port })
}
