/** The API by which gateways enrol over TLS, with the cloud's own parts behind it and nothing else of the API. */

import { onTestFinished } from 'vitest'
import { issuedBody } from '../../cloud/api/schemas/enrolment.ts'
import type { GatewayTrust, RecoveryRequest } from '../../cloud/authority/authority.ts'
import { BusbarError } from '../../shared/errors.ts'

/** Its URL. */
export async function enrolmentApi({ authority, enrolment, renewals }: GatewayTrust): Promise<string> {
  const from = '127.0.0.1'
  const answers: Record<string, (body: never) => unknown> = {
    '/api/v1/enrolment/authority': () => ({ certificatePem: authority.issuer.anchorPem }),
    '/api/v1/enrolment': async (body: { token: string; csrPem: string }) =>
      issuedBody(await enrolment.redeem(body, from)),
    '/api/v1/enrolment/challenges': () => ({ challenge: renewals.challenge() }),
    '/api/v1/enrolment/renewals': async (body: RecoveryRequest) => issuedBody(await renewals.recover(body, from)),
  }
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    tls: await authority.listenerTls(),
    async fetch(request) {
      const answer = answers[new URL(request.url).pathname]
      const body = request.method === 'POST' ? ((await request.json()) as never) : (undefined as never)
      try {
        return Response.json(await answer?.(body), { status: request.method === 'POST' ? 201 : 200 })
      } catch (error) {
        if (!(error instanceof BusbarError)) throw error
        return Response.json({ status: 403, code: error.code, detail: error.message }, { status: 403 })
      }
    },
  })
  onTestFinished(() => server.stop(true))
  return `https://127.0.0.1:${server.port}`
}
