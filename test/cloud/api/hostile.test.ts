import { connect } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { type ApiCore, startApiCore } from '../../support/api-core.ts'
import { newAuthority } from '../../support/certificates.ts'
import { bunPath, startChild } from '../../support/child.ts'
import { LiveTestClient } from '../../support/live-client.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { TestLogins } from '../../support/test-logins.ts'
import { until } from '../../support/until.ts'

/** Replays a run that failed: it is part of the message. */
const SEED = 20_260
const HTTP_REQUESTS = 1_000
const FRAMES = 2_000
const HALF_OPEN_EACH = 5_000

/** Sends what may be a request, and gives what came back until the connection ended. */
function rawRequest(port: number, bytes: Buffer): Promise<string> {
  return new Promise((resolve) => {
    let answer = ''
    const socket = connect(port, '127.0.0.1', () => socket.end(bytes))
    socket.on('data', (chunk) => {
      answer += chunk.toString('latin1')
    })
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(answer))
  })
}

async function expectAlive(core: ApiCore): Promise<void> {
  const init = { tls: { rejectUnauthorized: false }, keepalive: false } as RequestInit
  const startedMs = performance.now()
  expect((await fetch(`${core.url}/health/live`, init)).status).toBe(200)
  expect(performance.now() - startedMs).toBeLessThan(1_000)
}

async function expectNoFailure(core: ApiCore, what: string): Promise<void> {
  expect(await core.metrics.metrics(), what).not.toMatch(/busbar_api_requests_total\{[^}]*status="5/)
}

const HALF_OPEN = new URL('../../support/half-open-process.ts', import.meta.url).pathname

test('thousands of connections that say nothing, or half of something, keep nobody out and are cut; so is one that drips', async () => {
  const tls = newAuthority(await tempDir()).issue('busbar')
  const cores = [await startApiCore(), await startApiCore({ authentication: new TestLogins(), tls })]
  const before = process.memoryUsage().rss
  // Half of a request line, and the beginning of a handshake.
  const words = [Buffer.from('GET /health/live HTTP/1.1\r\nHost: loc').toString('hex'), '160301020001']
  const said: string[][] = [[], []]
  for (const [i, core] of cores.entries()) {
    const args = [String(core.api.address().port), String(HALF_OPEN_EACH), words[i] as string]
    const command = [bunPath, HALF_OPEN, ...args] as [string, ...string[]]
    const child = startChild({ command, onLine: (line) => said[i]?.push(line) })
    onTestFinished(async () => void (await child.kill('SIGKILL')))
  }
  let dripping = true
  const drip = connect((cores[0] as ApiCore).api.address().port, '127.0.0.1', () => drip.write('GET / HTTP/1.1\r\n'))
  const dripper = setInterval(() => drip.write('X-Slow: 1\r\n'), 500)
  drip.on('error', () => undefined)
  drip.on('close', () => {
    clearInterval(dripper)
    dripping = false
  })
  await until(() => said.every((lines) => lines.includes('open')), { timeoutMs: 20_000 })
  for (const core of cores) await expectAlive(core)
  expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1024 * 1024)
  await until(() => !dripping && said.every((lines) => lines.includes('cut')), { timeoutMs: 25_000 })
}, 60_000)

test('a request whose header or target is too large is refused', async () => {
  const core = await startApiCore()
  const { port } = core.api.address()
  const large = 'x'.repeat(20_000)
  const oversize = [
    `GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Large: ${large}\r\n\r\n`,
    `GET /health/live HTTP/1.1\r\nHost: localhost\r\n${'X-Many: 1\r\n'.repeat(2_000)}\r\n`,
    `GET /${large} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
    `GET /health/live HTTP/1.1\r\nHost: localhost\r\nCookie: ${'a=b; '.repeat(4_000)}\r\n\r\n`,
  ]
  for (const text of oversize) expect(await rawRequest(port, Buffer.from(text))).toMatch(/^(HTTP\/1\.1 4(00|14|31)|$)/)
  await expectAlive(core)
  await expectNoFailure(core, 'oversize')
})

test('malformed requests by the thousand are answered or cut, and none is a failure', async () => {
  const core = await startApiCore()
  const { port } = core.api.address()
  const random = seededRandom(SEED)
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random.fraction() * items.length)] as T
  const paths = core.api.routes.map(({ path }) =>
    path.replaceAll(/:[a-zA-Z]+/g, () => pick(['1', '-1', '%00', '%ff', '~', '9'.repeat(40), "';--"])),
  )
  const odd = [
    '',
    '\0',
    '%',
    '..%2f',
    '\r',
    '😀',
    'x'.repeat(3_000),
    '?limit=%',
    '?cursor=%F0&limit=1',
    '//',
    '?a=1&a=1',
    '?__proto__=1',
  ]
  const bodies = [
    '',
    '{',
    'null',
    '[]',
    '{"id":1e999}',
    '{"__proto__":{"a":1}}',
    '"\\ud800"',
    '[['.repeat(500),
    '{"id":"\0"}',
    'ÿþ',
  ]
  const headers = [
    ...[
      'Content-Length: 5',
      'Content-Length: -1',
      'Content-Length: 99999999999999999999',
      'Transfer-Encoding: chunked',
    ],
    ...[
      'Content-Type: application/json',
      'Content-Type: x',
      'Authorization: Bearer \xff',
      'Authorization: x',
      'Origin: null',
    ],
    ...[
      'Cookie: busbar_access=\x01',
      'Cookie: ===;;;',
      'Upgrade: websocket',
      'Sec-WebSocket-Key: x',
      'Idempotency-Key: ☀',
    ],
    ...[
      'X-Forwarded-For: ,,,',
      'Host: other',
      'Expect: 100-continue',
      ': x',
      'no colon',
      'Connection: close',
      ' Folded: 1',
    ],
  ]
  const mangled = (text: string): Buffer => {
    const bytes = Buffer.from(text, random.fraction() < 0.5 ? 'latin1' : 'utf8')
    for (let n = random.fraction() < 0.5 ? 0 : 3; n > 0 && bytes.length > 0; n--) {
      bytes[Math.floor(random.fraction() * bytes.length)] = Math.floor(random.fraction() * 256)
    }
    return random.fraction() < 0.9 ? bytes : bytes.subarray(0, Math.floor(random.fraction() * bytes.length))
  }
  const requests = Array.from({ length: HTTP_REQUESTS }, () => {
    const method = pick([
      'GET',
      'POST',
      'PATCH',
      'DELETE',
      'HEAD',
      'OPTIONS',
      'PUT',
      'TRACE',
      'CONNECT',
      'get',
      'X',
      '',
    ])
    const version = pick(['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/9.9', ''])
    const host = random.fraction() < 0.9 ? 'Host: localhost\r\n' : ''
    const some = Array.from({ length: Math.floor(random.fraction() * 5) }, () => `${pick(headers)}\r\n`).join('')
    return mangled(`${method} ${pick(paths)}${pick(odd)} ${version}\r\n${host}${some}\r\n${pick(bodies)}`)
  })
  const failed: string[] = []
  const ask = async (): Promise<void> => {
    for (let bytes = requests.pop(); bytes !== undefined; bytes = requests.pop()) {
      const answer = await rawRequest(port, bytes)
      if (/^HTTP\/1\.1 5/m.test(answer) && !answer.startsWith('HTTP/1.1 505'))
        failed.push(`${bytes.toString('latin1')}\n→ ${answer}`)
    }
  }
  await Promise.all(Array.from({ length: 20 }, ask))
  expect(failed.slice(0, 3), `seed ${SEED}`).toEqual([])
  await expectNoFailure(core, `seed ${SEED}`)
  await expectAlive(core)
}, 30_000)

test('malformed frames by the thousand are answered, broken ones cut, and others go on', async () => {
  const core = await startApiCore()
  const random = seededRandom(SEED)
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random.fraction() * items.length)] as T
  const healthy = await LiveTestClient.connect(core.webSocketUrl)
  const client = await LiveTestClient.connect(core.webSocketUrl)
  const values = [
    null,
    1,
    -1,
    1e308,
    '',
    'a',
    'x'.repeat(100),
    '\0',
    [],
    {},
    { siteId: 1 },
    { siteId: 0 },
    { userId: 'x' },
    { __proto__: 1 },
    true,
  ]
  const types = ['subscribe', 'subscribe', 'unsubscribe', 'ping', 'constructor', null, 1]
  for (let i = 0; i < FRAMES; i++) {
    const frame = {
      type: pick(types),
      id: pick(['a', 'b', pick(values)]),
      channel: pick(['telemetry', 'commands', pick(values)]),
      filter: pick([undefined, pick(values)]),
    }
    const text = JSON.stringify(random.fraction() < 0.2 ? pick([values, [frame], frame.id]) : frame)
    client.send(random.fraction() < 0.2 ? text.slice(0, Math.floor(random.fraction() * text.length)) : text)
  }
  await client.ask({ type: 'ping', id: 'the last' }, 'pong')
  await until(() => client.frames.length === FRAMES + 1)
  const kinds = new Set(client.frames.map(({ type }) => type))
  expect([...kinds].toSorted(), `seed ${SEED}`).toEqual(['error', 'pong', 'subscribed'])

  const handshake =
    'GET /api/v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
  const broken = Array.from({ length: 200 }, () =>
    Buffer.concat([Buffer.from(handshake), random.bytes(1 + Math.floor(random.fraction() * 60))]),
  )
  // Declares as much as a frame can have.
  broken.push(Buffer.concat([Buffer.from(handshake), Buffer.from('81ffffffffffffffffff00000000', 'hex')]))
  const { port } = core.api.address()
  await Promise.all(broken.map((bytes) => rawRequest(port, bytes)))
  await until(() => core.api.stats().clients === 2)
  await healthy.ask({ type: 'ping' }, 'pong')
  await expectNoFailure(core, `seed ${SEED}`)
})
