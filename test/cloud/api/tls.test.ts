import { connect, type SecureVersion } from 'node:tls'
import { Registry as MetricsRegistry } from 'prom-client'
import { expect, test } from 'vitest'
import { checkListener } from '../../../cloud/api/http/origins.ts'
import { startApiCore } from '../../support/api-core.ts'
import { newAuthority } from '../../support/certificates.ts'
import { LiveTestClient } from '../../support/live-client.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { TestLogins } from '../../support/test-logins.ts'

interface Spoken {
  readonly protocol: string | null
  readonly cipher: string
}

/** What is agreed on with a client that has only this to offer; null when it is turned away. */
function speak(port: number, offer: { version?: SecureVersion; ciphers?: string }): Promise<Spoken | null> {
  return new Promise((resolve) => {
    const { version, ciphers } = offer
    const socket = connect({
      ...{ host: '127.0.0.1', port, rejectUnauthorized: false },
      ...(version === undefined ? {} : { minVersion: version, maxVersion: version }),
      ...(ciphers === undefined ? {} : { ciphers }),
    })
    socket.once('secureConnect', () => {
      resolve({ protocol: socket.getProtocol(), cipher: socket.getCipher().name })
      socket.destroy()
    })
    socket.once('error', () => resolve(null))
    socket.once('close', () => resolve(null))
  })
}

test('over TLS 1.2 and 1.3 with ciphers that are good, REST and WebSocket, and nothing else', async () => {
  const authority = newAuthority(await tempDir())
  const tls = authority.issue('busbar')
  const logins = new TestLogins()
  const token = logins.add('ann', [{ role: 'viewer', siteId: 'all' }])
  const core = await startApiCore({ authentication: logins, tls })
  const { port } = core.api.address()

  const headers = { authorization: `Bearer ${token}`, host: 'localhost' }
  const answer = await fetch(`https://localhost:${port}/api/v1/sites`, {
    headers,
    tls: { ca: authority.ca },
  } as RequestInit)
  expect(answer.status).toBe(200)
  expect(answer.headers.get('strict-transport-security')).toBe('max-age=31536000')
  // The Origin is checked as one of TLS.
  const client = await LiveTestClient.connect(core.webSocketUrl, { token, origin: core.url })
  await client.ask({ type: 'subscribe', id: 'a', channel: 'telemetry' }, 'subscribed')
  const plain = await LiveTestClient.connect(core.webSocketUrl, { token, origin: core.url.replace('https', 'http') })
  expect(plain.socket.readyState).not.toBe(plain.socket.OPEN)

  expect((await speak(port, { version: 'TLSv1.2' }))?.protocol).toBe('TLSv1.2')
  expect((await speak(port, { version: 'TLSv1.3' }))?.protocol).toBe('TLSv1.3')
  for (const version of ['TLSv1', 'TLSv1.1'] as const) expect(await speak(port, { version }), version).toBeNull()
  for (const ciphers of ['ECDHE-ECDSA-AES256-SHA', 'ECDHE-ECDSA-AES128-SHA', 'AES128-SHA', 'AES128-GCM-SHA256']) {
    expect(await speak(port, { version: 'TLSv1.2', ciphers }), ciphers).toBeNull()
  }
  await expect(fetch(`http://127.0.0.1:${port}/health/live`)).rejects.toThrow()
})

test('names of the certificate may be asked for, others not', async () => {
  const tls = newAuthority(await tempDir()).issue('busbar')
  const core = await startApiCore({ authentication: new TestLogins(), tls: async () => tls })
  const asked = async (host: string) =>
    (await fetch(`${core.url}/health/live`, { headers: { host }, tls: { rejectUnauthorized: false } } as RequestInit))
      .status
  expect(await asked('localhost')).toBe(200)
  expect(await asked('other.example')).toBe(421)
  // What is no name at all, which the certificate cannot be asked about.
  for (const host of ['', ':443']) expect(await asked(host), host).toBe(421)
})

test('a certificate that cannot be used is told with the next step', async () => {
  const authority = newAuthority(await tempDir())
  const [one, other] = [authority.issue('one'), authority.issue('other')]
  const wrong = [
    { cert: one.cert, key: other.key },
    { cert: 'nothing', key: one.key },
    { cert: one.cert, key: '' },
  ]
  for (const tls of wrong) {
    const started = startApiCore({ authentication: new TestLogins(), tls, metrics: new MetricsRegistry() })
    await expect(started).rejects.toMatchObject({ code: 'API_TLS_INVALID', hint: expect.stringContaining('keyFile') })
  }
})

test('beyond loopback it wants TLS or a proxy, and never goes without a login', () => {
  const nothing = { insecure: false, tls: false, proxies: false }
  for (const host of ['127.0.0.1', '::1', '[::1]', 'localhost']) {
    checkListener(host, nothing)
    checkListener(host, { ...nothing, insecure: true })
  }
  for (const host of ['0.0.0.0', '::', '192.0.2.1', 'busbar.example']) {
    const refusal = expect.objectContaining({ code: 'API_NOT_LOOPBACK' })
    expect(() => checkListener(host, nothing)).toThrow(refusal)
    expect(() => checkListener(host, { insecure: true, tls: true, proxies: true })).toThrow(refusal)
    checkListener(host, { ...nothing, tls: true })
    checkListener(host, { ...nothing, proxies: true })
  }
})
