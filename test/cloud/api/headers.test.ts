import { expect, test } from 'vitest'
import { defineRoute } from '../../../cloud/api/http/route.ts'
import { startApiCore } from '../../support/api-core.ts'
import { getJson } from '../../support/json-request.ts'
import { TestLogins } from '../../support/test-logins.ts'

const ALWAYS = {
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
}

/** Routes that make answers of their own: a page, a file, a stream, one that says how it may be kept. */
const OWN = [
  { path: '/own/page', answer: () => new Response('<p>', { headers: { 'content-type': 'text/html' } }) },
  { path: '/own/file', answer: () => new Response('a,b', { headers: { 'content-type': 'text/csv' } }) },
  { path: '/own/stream', answer: () => new Response(new Blob(['x']).stream()) },
  { path: '/own/kept', answer: () => new Response('x', { headers: { 'cache-control': 'max-age=60' } }) },
  { path: '/own/redirect', answer: () => Response.redirect('/login', 303) },
].map(({ path, answer }, i) =>
  defineRoute(
    { method: 'GET', path, operationId: `own${i}`, tag: 'own', summary: path, permission: 'none', responses: {} },
    answer,
  ),
)

test('every answer tells browsers what they may do with it: pages, files, errors and what there is not', async () => {
  const { url } = await startApiCore({ routes: OWN })
  const paths = [
    '/api/v1/sites',
    '/api/v1/sites/1',
    '/api/v1/ws',
    '/nothing',
    '/docs',
    '/docs/page.js',
    '/openapi.json',
  ]
  for (const path of [...paths, '/metrics', '/health/live', ...OWN.map((route) => route.path)]) {
    const { headers } = await fetch(url + path, { redirect: 'manual' })
    expect(Object.fromEntries(headers), path).toMatchObject(ALWAYS)
    const policy = headers.get('content-security-policy')
    expect(policy, path).toMatch(/^default-src 'none'; /)
    expect(policy, path).toContain("frame-ancestors 'none'")
    const isPage = path === '/docs' || path === '/own/page'
    expect(policy?.includes("script-src 'self'"), path).toBe(isPage)
    expect(headers.get('permissions-policy'), path).toContain('camera=()')
    expect(headers.get('cache-control'), path).toBe(
      path.startsWith('/docs') ? 'no-cache' : path === '/own/kept' ? 'max-age=60' : 'no-store',
    )
    // That is for answers over TLS: others would lock people out of what has none.
    expect(headers.get('strict-transport-security'), path).toBeNull()
  }
})

test('metrics are for viewers of every site; probes tell strangers how things are, and no addresses', async () => {
  const logins = new TestLogins()
  const dependencies = [
    { name: 'bus', health: () => ({ state: 'degraded' as const, detail: 'no answer from 10.0.0.7:9092' }) },
  ]
  const { url } = await startApiCore({ authentication: logins, dependencies })
  const viewer = logins.add('ann', [{ role: 'viewer', siteId: 'all' }])
  const some = logins.add('bob', [{ role: 'admin', siteId: 1 }])
  const key = logins.add('api-key:1', [{ role: 'viewer', siteId: 'all' }], ['sites:read'])
  const seen = async (token: string | null) => {
    const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` }
    const metrics = await fetch(`${url}/metrics`, { headers })
    const { body } = await getJson(`${url}/health/ready`, headers)
    return [metrics.status, body.dependencies[0].state, body.dependencies[0].detail]
  }
  expect(await seen(viewer)).toEqual([200, 'degraded', 'no answer from 10.0.0.7:9092'])
  expect(await seen(null)).toEqual([401, 'degraded', undefined])
  expect(await seen(some)).toEqual([403, 'degraded', undefined])
  expect(await seen(key)).toEqual([403, 'degraded', undefined])
})
