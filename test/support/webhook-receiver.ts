/** A push system: a real HTTP server that takes webhooks in, and answers as a test wants. */

import { timingSafeEqual } from 'node:crypto'
import { onTestFinished } from 'vitest'

export const WEBHOOK_SECRET = 'a secret of the tests'

export interface Received {
  readonly id: string
  readonly userId: string
  /** `data` of the body. */
  readonly notification: Readonly<Record<string, unknown>>
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly status: number
}

export interface WebhookReceiver {
  readonly url: string
  /** Every request, in the order in which they were answered. */
  readonly received: readonly Received[]
  /** Those that were answered with 2xx. */
  taken(userId?: string): string[]
  /** The most requests that were under way at once. */
  readonly atOnceMax: number
  /** How requests are answered from now on; the default is 204. */
  answer: (notification: Readonly<Record<string, unknown>>, request: Request) => Response | Promise<Response>
  /** Ends at once, connections and all. */
  die(): Promise<void>
  /** Comes back under the same address. */
  comeBack(): void
}

export function startReceiver(): WebhookReceiver {
  const received: Received[] = []
  let atOnce = 0
  let atOnceMax = 0
  const take = async (request: Request): Promise<Response> => {
    atOnceMax = Math.max(atOnceMax, ++atOnce)
    try {
      const body = await request.text()
      const headers = Object.fromEntries(request.headers) as Record<string, string>
      if (!(await verifies(headers, body, Buffer.from(WEBHOOK_SECRET)))) return new Response('forged', { status: 500 })
      const { data: notification } = JSON.parse(body)
      const response = await receiver.answer(notification, request)
      const { id, userId } = notification
      received.push({ id, userId, notification, headers, body, status: response.status })
      return response
    } finally {
      atOnce--
    }
  }
  const listen = (port: number) => Bun.serve({ port, hostname: '127.0.0.1', idleTimeout: 0, fetch: take })
  let server = listen(0)
  const port = server.port as number
  const receiver: WebhookReceiver = {
    url: `http://127.0.0.1:${port}/hooks/token-of-the-path`,
    received,
    taken: (userId) =>
      received
        .filter((each) => each.status < 300 && (userId === undefined || each.userId === userId))
        .map(({ id }) => id),
    get atOnceMax() {
      return atOnceMax
    },
    answer: () => new Response(null, { status: 204 }),
    async die() {
      await server.stop(true)
    },
    comeBack() {
      server = listen(port)
    },
  }
  onTestFinished(() => void server.stop(true))
  return receiver
}

/** As the documentation tells a receiver to do it, by other means than those of the sender. */
export async function verifies(
  headers: Readonly<Record<string, string>>,
  body: string,
  key: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  const { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures = '' } = headers
  const hmac = await crypto.subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
  const signed = new TextEncoder().encode(`${id}.${timestamp}.${body}`)
  const expected = new Uint8Array(await crypto.subtle.sign('HMAC', hmac, signed))
  return signatures.split(' ').some((signature) => {
    const given = Buffer.from(signature.replace(/^v1,/, ''), 'base64')
    return given.length === expected.length && timingSafeEqual(given, expected)
  })
}
