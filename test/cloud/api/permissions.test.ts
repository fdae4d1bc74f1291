import { expect, test } from 'vitest'
import { isDeclared } from '../../../cloud/api/permission.ts'
import { CHANNELS } from '../../../cloud/api/socket/channels.ts'
import { startApiCore } from '../../support/api-core.ts'

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
