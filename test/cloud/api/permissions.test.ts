import { expect, test } from 'vitest'
import { defineRoute } from '../../../cloud/api/http/route.ts'
import { allowedAt, isDeclared } from '../../../cloud/api/permission.ts'
import { CHANNELS } from '../../../cloud/api/socket/channels.ts'
import { NO_SITE } from '../../../cloud/registry/site-scope.ts'
import { startApiCore } from '../../support/api-core.ts'
import { callerNamed } from '../../support/fixed-callers.ts'

/** What anybody may ask, and why. */
const WITHOUT_PERMISSION = [
  '/asyncapi.json', // describes, shows nothing
  '/docs',
  '/docs/page.css',
  '/docs/page.js',
  '/health/live', // asked by what runs the process
  '/health/ready',
  '/openapi.json',
]

test('every route that is served declares the permission it needs', async () => {
  const { api } = await startApiCore()
  expect(api.routes.length).toBeGreaterThan(15)
  const undeclared = api.routes.filter(({ permission }) => !isDeclared(permission))
  expect(undeclared.map(({ method, path }) => `${method} ${path}`)).toEqual([])
  const open = api.routes.filter(({ permission }) => permission === 'none').map(({ path }) => path)
  expect(open.toSorted()).toEqual(WITHOUT_PERMISSION)
})

test('the application serves no route besides the declared ones', async () => {
  const { api } = await startApiCore()
  const declared = api.routes.map(({ method, path }) => `${method} ${path}`).toSorted()
  expect(api.servedRoutes().toSorted()).toEqual(declared)
})

test('what changes something needs more than looking on', async () => {
  const { api } = await startApiCore()
  for (const { method, path, permission } of api.routes) {
    if (method === 'GET') continue
    const role = permission === 'none' ? 'none' : permission.role
    // Who operates a site commands its devices; what there is at the site is for engineers.
    const expected = path.startsWith('/api/v1/commands') ? 'operator' : 'engineer'
    expect(role, `${method} ${path}`).toBe(expected)
  }
})

test('every live channel declares the permission it needs', () => {
  for (const [name, { permission }] of Object.entries(CHANNELS)) expect(isDeclared(permission), name).toBe(true)
})

test('a route that is about sites and does not say where its role is asked for cannot be declared', () => {
  const common = { method: 'GET', path: '/x', operationId: 'x', tag: 'x', summary: 'x', responses: {} } as const
  const declare = (more: object) => () => defineRoute({ ...common, ...more } as never, () => undefined)
  expect(declare({ permission: { role: 'viewer', scope: 'site' } })).toThrow('GET /x')
  expect(declare({ permission: { role: 'viewer', scope: 'global' }, sites: 'listed' })).toThrow('GET /x')
  expect(declare({ permission: 'none', sites: 'listed' })).toThrow('GET /x')
  expect(declare({ permission: { role: 'viewer', scope: 'site' }, sites: 'listed' })).not.toThrow()
})

test('what is not seen does not exist; what is seen and may not be touched says where the role is missing', () => {
  const caller = callerNamed('operator.1+viewer.2')
  expect(allowedAt(caller, 'operator', null)).toBe(false)
  expect(allowedAt(caller, 'operator', [1])).toBe(true)
  expect(allowedAt(caller, 'operator', [1, 3])).toBe(false)
  expect(() => allowedAt(caller, 'operator', [1, 2])).toThrow('This needs the role operator at site 2.')
  expect(allowedAt(caller, 'operator', [NO_SITE])).toBe(false)
  expect(() => allowedAt(caller, 'operator', { needs: [NO_SITE], seen: true })).toThrow('over every site')
  expect(allowedAt(caller, 'operator', { needs: [1], seen: false })).toBe(false)
  expect(allowedAt(caller, 'viewer', { needs: [], seen: true })).toBe(true)
  expect(allowedAt(callerNamed('operator.all'), 'operator', [1, NO_SITE])).toBe(true)
})
