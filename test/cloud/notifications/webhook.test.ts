import { describe, expect, test } from 'vitest'
import { Webhook, type WebhookOptions } from '../../../cloud/notifications/webhook.ts'
import { judge, RETRY_AFTER_MAX_MS } from '../../../cloud/notifications/webhook-answer.ts'
import { signatureHeaders, signingKey } from '../../../cloud/notifications/webhook-signature.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { until } from '../../support/until.ts'
import { startReceiver, verifies, WEBHOOK_SECRET } from '../../support/webhook-receiver.ts'

const never = new AbortController().signal

function webhook(url: string, options: Partial<WebhookOptions> = {}): Webhook {
  return new Webhook({
    url,
    secret: WEBHOOK_SECRET,
    timeoutMs: 5_000,
    breakerFailures: 3,
    breakerOpenMs: 60_000,
    fetch,
    clock: systemClock,
    log: silentLogger,
    ...options,
  })
}

const message = (id: string) => ({ id, body: JSON.stringify({ data: { id, userId: 'u' } }) })
/** The code of what it threw, or 'delivered'. */
const outcome = (hook: Webhook, id = 'ntf-1', letGo = never): Promise<string> =>
  hook.post(message(id), letGo).then(
    () => 'delivered',
    (error) => error.code,
  )

describe('the signature', () => {
  test('is that of the published example', () => {
    const key = signingKey('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')
    const sample = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', body: '{"test": 2432232314}' }
    expect(signatureHeaders(sample, 1_614_265_330_000, key)).toEqual({
      'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    })
  })

  test('fits the body, the id and the time, and no others', async () => {
    const key = Buffer.from(WEBHOOK_SECRET)
    const headers = signatureHeaders({ id: 'ntf-1', body: '{"ü":1}' }, 1_000, key)
    expect(await verifies(headers, '{"ü":1}', key)).toBe(true)
    expect(await verifies(headers, '{"ü":2}', key)).toBe(false)
    expect(await verifies({ ...headers, 'webhook-id': 'ntf-2' }, '{"ü":1}', key)).toBe(false)
    expect(await verifies({ ...headers, 'webhook-timestamp': '2' }, '{"ü":1}', key)).toBe(false)
    expect(await verifies(headers, '{"ü":1}', Buffer.from('another secret'))).toBe(false)
  })
})

test.each([
  [200, 'delivered'],
  [204, 'delivered'],
  [301, 'away'],
  [400, 'refused'],
  [404, 'refused'],
  [408, 'away'],
  [429, 'away'],
  [500, 'away'],
  [503, 'away'],
])('status %i is %s', (status, kind) => {
  expect(judge(status, null, 0)).toMatchObject({ kind })
})

test.each([
  ['7', 7_000],
  ['Thu, 01 Jan 1970 00:01:00 GMT', 50_000],
  ['Thu, 01 Jan 1970 00:00:01 GMT', 0],
  ['999999999999', RETRY_AFTER_MAX_MS],
  ['soon', 0],
  [null, 0],
])('Retry-After %s is waited for', (text, retryAfterMs) => {
  expect(judge(429, text, 10_000)).toMatchObject({ kind: 'away', retryAfterMs })
})

describe('a webhook', () => {
  test('is not asked before the time that it asked for', async () => {
    const receiver = startReceiver()
    receiver.answer = () => new Response(null, { status: 429, headers: { 'retry-after': '60' } })
    const clock = new ManualClock()
    const hook = webhook(receiver.url, { clock, breakerFailures: 10 })
    expect(await outcome(hook)).toBe('WEBHOOK_AWAY')
    receiver.answer = () => new Response()
    clock.advance(59_000)
    expect(await outcome(hook)).toBe('WEBHOOK_AWAY')
    expect(receiver.received).toHaveLength(1)
    expect(hook.health()).toMatchObject({ state: 'degraded', detail: expect.stringContaining('status 429') })
    clock.advance(1_000)
    expect(await outcome(hook)).toBe('delivered')
    expect(hook.health()).toEqual({ state: 'up' })
    expect(hook.stats()).toEqual({ delivered: 1, failures: { 'status 429': 1 }, breaker: 'closed' })
  })

  test('that fails several times in a row is left alone for a while; then one is let through, and the others with it', async () => {
    const receiver = startReceiver()
    receiver.answer = () => new Response(null, { status: 503 })
    const hook = webhook(receiver.url, { breakerOpenMs: 200 })
    for (let n = 0; n < 10; n++) expect(await outcome(hook)).toBe('WEBHOOK_AWAY')
    expect(receiver.received).toHaveLength(3)
    expect(hook.stats()).toMatchObject({ breaker: 'open', failures: { 'status 503': 3 } })
    expect(hook.health()).toMatchObject({ state: 'degraded' })
    // Still away: the one that is let through closes nothing.
    await until(async () => (await outcome(hook)) === 'WEBHOOK_AWAY' && receiver.received.length === 4)
    expect(hook.stats().breaker).toBe('open')
    receiver.answer = () => new Response()
    await until(async () => (await outcome(hook)) === 'delivered')
    expect(hook.stats().breaker).toBe('closed')
    expect(await Promise.all([1, 2, 3].map((n) => outcome(hook, `ntf-${n}`)))).toEqual(Array(3).fill('delivered'))
  })

  test('that refuses a notification is not away', async () => {
    const receiver = startReceiver()
    receiver.answer = () => new Response('{"secret":"of the receiver"}', { status: 422 })
    const hook = webhook(receiver.url)
    for (let n = 0; n < 10; n++) expect(await outcome(hook)).toBe('WEBHOOK_REFUSED')
    expect(receiver.received).toHaveLength(10)
    expect(hook.health()).toEqual({ state: 'up' })
    expect(hook.stats()).toEqual({ delivered: 0, failures: { 'status 422': 10 }, breaker: 'closed' })
  })

  test('that redirects is not followed', async () => {
    const receiver = startReceiver()
    const elsewhere = startReceiver()
    receiver.answer = () => Response.redirect(elsewhere.url, 307)
    const hook = webhook(receiver.url)
    expect(await outcome(hook)).toBe('WEBHOOK_AWAY')
    expect(hook.health()).toMatchObject({ detail: expect.stringContaining('redirect') })
    expect(elsewhere.received).toEqual([])
  })

  test('that hangs is not waited for, neither before its answer nor within it', async () => {
    const receiver = startReceiver()
    receiver.answer = () => new Promise(() => {})
    const hook = webhook(receiver.url, { timeoutMs: 150 })
    expect(await outcome(hook)).toBe('WEBHOOK_AWAY')
    expect(hook.stats().failures).toEqual({ TIMEOUT: 1 })
    receiver.answer = () => new Response(new ReadableStream({ start: (body) => body.enqueue('it goes on') }))
    expect(await outcome(hook)).toBe('delivered')
    receiver.answer = () => new Response(endless())
    expect(await outcome(hook)).toBe('delivered')
  })

  test('is let go of when we stop, which says nothing against it', async () => {
    const receiver = startReceiver()
    receiver.answer = () => new Promise(() => {})
    const hook = webhook(receiver.url)
    const letGo = new AbortController()
    const waiting = outcome(hook, 'ntf-1', letGo.signal)
    await until(() => receiver.atOnceMax === 1)
    letGo.abort()
    expect(await waiting).toBe('WEBHOOK_STOPPED')
    expect(await outcome(hook, 'ntf-2', letGo.signal)).toBe('WEBHOOK_STOPPED')
    expect(hook.stats()).toMatchObject({ failures: {}, breaker: 'closed' })
  })

  test('that is not there, or named by no URL, is away; neither secret nor path is told', async () => {
    const receiver = startReceiver()
    await receiver.die()
    for (const url of [receiver.url, 'http://token-of-the-path:99999/', 'http://user:token-of-the-path@127.0.0.1:1/']) {
      const lines: unknown[] = []
      const log = {
        ...silentLogger,
        info: (...line: unknown[]) => lines.push(line),
        warn: (...line: unknown[]) => lines.push(line),
      }
      const hook = webhook(url, { log: log as never, breakerFailures: 1 })
      const error = await hook.post(message('ntf-1'), never).catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: 'WEBHOOK_AWAY', retryable: true })
      const told = [(error as Error).message, JSON.stringify([hook.health(), hook.stats(), lines])].join()
      expect(lines.length).toBeGreaterThan(0)
      expect(told).not.toContain('token-of-the-path')
      expect(told).not.toContain(WEBHOOK_SECRET)
    }
  })
})

function endless(): ReadableStream<Uint8Array> {
  return new ReadableStream({ pull: (body) => body.enqueue(new Uint8Array(4096)) })
}
