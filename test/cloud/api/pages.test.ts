import { type Browser, chromium } from 'playwright-core'
import { afterAll, expect, it, test } from 'vitest'
import { LOCAL_CALLER } from '../../../cloud/identity/identity.ts'
import { startAccountApi } from '../../support/account-api.ts'
import { CLIENT, PASSWORD } from '../../support/identity-core.ts'
import { describeWith } from '../../support/real-parts.ts'

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
]

test('the pages run nothing and load nothing but files of this server', async () => {
  const { url } = await startAccountApi()
  const files = new Set<string>()
  for (const path of ['/login', '/setup', '/password']) {
    const response = await fetch(`${url}${path}`)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(response.headers.get('cache-control')).toBe('no-store')
    const policy = response.headers.get('content-security-policy') ?? ''
    for (const part of POLICY) expect(policy, path).toContain(part)
    expect(policy).not.toMatch(/unsafe|\*|data:|http/)
    const html = await response.text()
    expect(html).not.toMatch(/<style|\sstyle=|\son[a-z]+=|<script>|javascript:/i)
    for (const [, file = ''] of html.matchAll(/(?:src|<link[^>]*href)="([^"]+)"/g)) files.add(file)
  }
  expect([...files].sort()).toEqual(['/account/page.css', '/account/page.js'])
  const types = [...files].map(async (file) => (await fetch(`${url}${file}`)).headers.get('content-type'))
  expect((await Promise.all(types)).sort()).toEqual(['text/css; charset=utf-8', 'text/javascript; charset=utf-8'])
})

describeWith(['chromium'], 'the pages in a browser', (paths) => {
  let browser: Browser | undefined
  afterAll(() => browser?.close())

  it('set up the first administrator by the link, log in, and open a WebSocket by the cookie', async () => {
    const { url, identity, addUser } = await startAccountApi()
    browser = await chromium.launch({ executablePath: paths.chromium, args: ['--no-sandbox'] })
    const page = await browser.newPage({ viewport: { width: 360, height: 640 } })
    page.setDefaultTimeout(10_000)
    const said: string[] = []
    const asked: string[] = []
    page.on('console', (message) => void said.push(message.text()))
    page.on('pageerror', (error) => void said.push(error.message))
    page.on('request', (request) => void asked.push(request.url()))
    const token = (await identity.setup.ensureSetupLink())?.token ?? ''
    const problem = page.getByRole('alert')
    const fits = () => page.evaluate('document.documentElement.scrollWidth <= innerWidth')

    await page.goto(`${url}/setup`)
    expect(await problem.textContent()).toContain('opened by a link')
    await page.goto(`${url}/setup#${token}`)
    await page.reload()
    await page.goto('about:blank')
    await page.goto(`${url}/setup#${token}`)
    // Out of the address, and of what anybody reads over a shoulder or in the history.
    expect(page.url()).toBe(`${url}/setup`)
    expect(await fits()).toBe(true)
    await page.keyboard.type('root')
    await page.getByLabel('Password', { exact: true }).fill('short')
    await page.getByLabel('Password again').fill('shorter')
    await page.keyboard.press('Enter')
    const again = page.getByLabel('Password again')
    expect(await again.getAttribute('aria-invalid')).toBe('true')
    expect(await page.locator('#repeated-wrong').textContent()).toBe('This is not the same password.')
    expect(await page.evaluate('document.activeElement.id')).toBe('repeated')
    await again.fill('short')
    await page.keyboard.press('Enter')
    await problem.getByRole('paragraph').first().waitFor()
    expect(await page.locator('#password-wrong').textContent()).toContain('12 characters or more')
    for (const label of ['Password', 'Password again']) await page.getByLabel(label, { exact: true }).fill(PASSWORD)
    await page.keyboard.press('Enter')
    await page.waitForURL(`${url}/login?done=setup`)
    expect(await page.getByRole('status').textContent()).toContain('You are the administrator now')

    await page.goto(`${url}/login?to=${encodeURIComponent('/.//evil.example/')}`)
    expect(await fits()).toBe(true)
    await page.keyboard.type('root')
    await page.keyboard.press('Tab')
    await page.keyboard.type('wrong password')
    await page.keyboard.press('Enter')
    await problem.getByText('The user id or the password is wrong.').waitFor()
    await page.getByLabel('Password').fill(PASSWORD)
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.waitForURL(`${url}/docs`)
    const answer = await page.evaluate(`new Promise((resolve) => {
      const socket = new WebSocket(location.origin.replace('http', 'ws') + '/api/v1/ws')
      socket.onopen = () => socket.send('{"type":"subscribe","id":"s","channel":"telemetry"}')
      socket.onmessage = ({ data }) => resolve(JSON.parse(data))
      socket.onclose = ({ code }) => resolve(code)
    })`)
    expect(answer).toMatchObject({ type: 'subscribed' })
    expect(await page.evaluate('document.cookie')).toBe('')

    await addUser('ann', [], null)
    const link = await identity.users.passwordLink('ann', LOCAL_CALLER)
    await page.goto(`${url}/password#${link?.token}&ann`)
    expect(await page.locator('#whose').textContent()).toBe('For ann')
    for (const label of ['Password', 'Password again']) await page.getByLabel(label, { exact: true }).fill(PASSWORD)
    await page.getByRole('button', { name: 'Choose' }).click()
    await page.waitForURL(`${url}/login?done=password`)
    expect(await identity.passwordLogins.login('ann', PASSWORD, CLIENT)).toMatchObject({ user: { id: 'ann' } })

    // Nothing was blocked, and the answers to what was wrong on purpose are all that was said.
    expect(said.filter((text) => !/^Failed to load resource: .* (401|422) /.test(text))).toEqual([])
    expect(asked.filter((each) => !each.startsWith(`${url}/`) && each !== 'about:blank')).toEqual([])
    expect(asked.join()).not.toContain(token)
  }, 60_000)
})
