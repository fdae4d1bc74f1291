import { expect, test } from 'vitest'
import { startAccountApi } from '../../support/account-api.ts'
import { freePort } from '../../support/free-port.ts'
import { PASSWORD } from '../../support/identity-core.ts'
import { RedirectWalk, startIdentityProvider } from '../../support/identity-provider.ts'
import { getJson, sendJson } from '../../support/json-request.ts'

const ANN = { sub: 'subject-1', preferred_username: 'ann', groups: ['ops'] }
const HTML = { accept: 'text/html,application/xhtml+xml' }
const START = '/api/v1/auth/oidc/start'
const CALLBACK = '/api/v1/auth/oidc/callback'

async function startBoth() {
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const provider = await startIdentityProvider([`${url}${CALLBACK}`])
  const account = await startAccountApi({ provider, api: { port } })
  expect(account.url).toBe(url)
  return { ...account, provider }
}

test('a browser goes to the identity provider and comes back logged in', async () => {
  const { url, provider } = await startBoth()
  provider.account = ANN
  const browser = new RedirectWalk()
  const begun = await browser.get(`${url}${START}?return_to=${encodeURIComponent('/docs?x=1#y')}`)
  expect(begun.status).toBe(302)
  const [kept = ''] = begun.headers.getSetCookie()
  expect(kept).toMatch(/^busbar_oidc=[\w.-]+; Path=\/; Max-Age=600; HttpOnly; SameSite=Lax$/)
  const location = new URL(begun.headers.get('location') ?? '')
  expect(location.searchParams.get('code_challenge_method')).toBe('S256')
  const callback = await browser.follow(location, `${url}${CALLBACK}`)
  const back = await browser.get(callback)
  expect(back.status).toBe(302)
  expect(back.headers.get('location')).toBe('/docs?x=1')
  expect(back.headers.get('cache-control')).toBe('no-store')
  const cookies = back.headers.getSetCookie()
  expect(cookies.map((cookie) => cookie.split('=')[0])).toEqual(['busbar_oidc', 'busbar_access', 'busbar_refresh'])
  for (const cookie of cookies.slice(1)) expect(cookie).toMatch(/; HttpOnly; SameSite=Strict$/)
  const cookie = `busbar_access=${browser.cookie('busbar_access')}`
  const me = await getJson(`${url}/api/v1/auth/me`, { cookie })
  expect(me.body).toMatchObject({ id: 'ann', kind: 'user' })
  expect(me.body.grants).toContainEqual({ role: 'operator', siteId: 1 })
  // The same way back a second time, without what the browser has forgotten by now.
  expect((await browser.get(callback)).status).toBe(401)
})

test('what goes wrong is told on a page, and to a program as a problem', async () => {
  const { url, provider, addUser } = await startBoth()
  const attempt = async (headers: Record<string, string>) => {
    const browser = new RedirectWalk()
    const callback = await browser.follow(`${url}${START}`, `${url}${CALLBACK}`)
    return await browser.get(callback, headers)
  }
  provider.account = { ...ANN, groups: ['<img src=x>'] }
  const page = await attempt(HTML)
  expect(page.status).toBe(403)
  expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8')
  expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
  const text = await page.text()
  expect(text).toContain('You have no role here')
  expect(text).toContain('&#60;img src=x&#62;')
  expect(text).not.toContain('<img')
  const problem = await attempt({})
  expect(problem.status).toBe(403)
  expect(await problem.json()).toMatchObject({ code: 'OIDC_NO_ROLE' })

  await addUser('bob', [{ role: 'viewer', siteId: 1 }])
  provider.account = { ...ANN, preferred_username: 'bob' }
  expect((await attempt(HTML)).status).toBe(409)
  const forged = await fetch(`${url}${CALLBACK}?code=a&state=b`, { headers: HTML, redirect: 'manual' })
  expect(forged.status).toBe(401)

  // While the provider is away passwords go on.
  await provider.stop()
  const fresh = await startAccountApi({ provider })
  const away = await fetch(`${fresh.url}${START}`, { headers: HTML, redirect: 'manual' })
  expect(away.status).toBe(503)
  expect(await away.text()).toContain('log in with a password')
  await fresh.addUser('bob', [{ role: 'viewer', siteId: 1 }])
  const login = await sendJson(`${fresh.url}/api/v1/auth/login`, 'POST', { userId: 'bob', password: PASSWORD })
  expect(login.status).toBe(200)
  await provider.start()
})
