import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type AccountApi, startAccountApi } from '../../support/account-api.ts'
import { newAuthority } from '../../support/certificates.ts'
import { bunPath, projectDir } from '../../support/child.ts'
import { busbar } from '../../support/command.ts'
import { PASSWORD } from '../../support/identity-core.ts'
import { tempDir } from '../../support/temp-dir.ts'

interface Machine {
  readonly dir: string
  readonly file: string
  run(...args: string[]): ReturnType<typeof busbar>
  /** With a password on standard input. */
  login(user: string, password?: string, ...args: string[]): ReturnType<typeof busbar>
}

async function machineOf(url: string, env: Readonly<Record<string, string>> = {}): Promise<Machine> {
  const dir = await tempDir()
  const all = { XDG_CONFIG_HOME: join(dir, 'config'), BUSBAR_CLOUD_URL: url, ...env }
  const run = (...args: string[]) => busbar('cloud', args, { env: all })
  return {
    dir,
    file: join(dir, 'config', 'busbar', 'credentials.json'),
    run,
    login: (user, password = PASSWORD, ...args) =>
      busbar('cloud', ['login', '--user', user, '--password-stdin', ...args], { env: all, input: `${password}\n` }),
  }
}

async function startWith(users: Readonly<Record<string, Parameters<AccountApi['addUser']>[1]>>, settings = {}) {
  const account = await startAccountApi({ settings })
  for (const [id, grants] of Object.entries(users)) await account.addUser(id, grants)
  return { ...account, ...(await machineOf(account.url)) }
}

describe('busbar-cloud login', { timeout: 60_000 }, () => {
  it('keeps the login where nobody else can read it, uses it, and ends it', async () => {
    const { login, run, file, url } = await startWith({ ann: [{ role: 'admin', siteId: 'all' }] })
    const before = await run('whoami')
    expect(before.code).toBe(1)
    expect(before.stderr).toContain(`next: log in: \`busbar-cloud login --url ${url}\``)

    expect((await login('ann', 'wrong password')).stderr).toMatch(/^error LOGIN_FAILED/)
    expect(existsSync(file)).toBe(false)
    expect(await login('ann')).toMatchObject({ code: 0, stdout: '', stderr: `logged in as ann at ${url}\n` })
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(statSync(join(file, '..')).mode & 0o777).toBe(0o700)
    expect(readFileSync(file, 'utf8')).not.toContain(PASSWORD)
    expect(await run('whoami')).toMatchObject({ code: 0, stdout: 'ann\n' })

    chmodSync(file, 0o604)
    const exposed = await run('whoami')
    expect(exposed.code).toBe(1)
    expect(exposed.stderr).toMatch(/^error CREDENTIALS_EXPOSED: .*mode 0604.*\nnext: chmod 600 /)
    chmodSync(file, 0o600)

    expect((await run('logout')).stderr).toBe('ann is logged out\n')
    expect((await run('whoami')).code).toBe(1)
    expect((await run('logout')).stderr).toContain('nobody is logged in')
  })

  it('renews by itself, and several commands at once never send one refresh token twice', async () => {
    // An access token that is renewed before each use.
    const { login, run, events, file } = await startWith(
      { ann: [{ role: 'viewer', siteId: 1 }] },
      { accessTokenMs: 10_000 },
    )
    await login('ann')
    const tokenOf = () => Object.values<{ refreshToken: string }>(JSON.parse(readFileSync(file, 'utf8')).logins)[0]
    const first = tokenOf()?.refreshToken
    const all = await Promise.all([run('whoami'), run('whoami'), run('whoami'), run('whoami')])
    expect(all.map(({ code, stderr }) => (code === 0 ? 0 : stderr))).toEqual([0, 0, 0, 0])
    expect(tokenOf()?.refreshToken).not.toBe(first)
    expect(events).toEqual([])
  })

  it('says that a login has ended, and forgets it', async () => {
    const { login, run, identity, file } = await startWith({ ann: [{ role: 'viewer', siteId: 1 }] })
    await login('ann')
    const [{ id = '' } = {}] = (await identity.logins.list('ann', {})).items
    await identity.logins.end(id, 'for the test')
    const ended = await run('whoami')
    expect(ended).toMatchObject({ code: 1, stdout: '' })
    expect(ended.stderr).toMatch(/^error LOGIN_ENDED: your login at .* has ended\nnext: log in: /)
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ logins: {} })
  })

  it('asks on the terminal and shows nothing of what is typed', async () => {
    const { url, addUser } = await startAccountApi()
    await addUser('ann')
    let shown = ''
    const typed = Bun.spawn([bunPath, join(projectDir, 'cloud/main.ts'), 'login', '--user', 'ann', '--url', url], {
      env: { ...process.env, XDG_CONFIG_HOME: await tempDir() },
      terminal: {
        data(terminal: { write(text: string): void }, data: Uint8Array) {
          const before = shown
          shown += Buffer.from(data).toString()
          if (shown.includes('Password of') && !before.includes('Password of')) terminal.write(`x\u007f${PASSWORD}\r`)
        },
      },
    } as never)
    expect(await typed.exited).toBe(0)
    expect(shown).toContain('logged in as ann')
    expect(shown).not.toContain(PASSWORD.slice(0, 4))
    const piped = await (await machineOf(url)).run('login', '--user', 'ann')
    expect(piped).toMatchObject({ code: 64 })
    expect(piped.stderr).toContain('--password-stdin')
  })

  it('sends nothing secret without TLS beyond this machine, whatever is asked', async () => {
    const { run, login } = await machineOf('http://192.0.2.1:8080', { BUSBAR_CLOUD_TOKEN: 'bbk_0_secret' })
    for (const result of [await login('ann'), await run('whoami'), await run('task', 'list')]) {
      expect(result.code).toBe(1)
      expect(result.stderr).toMatch(/^error CREDENTIALS_IN_CLEAR: /)
    }
  })

  it('trusts a certificate by --ca-file, and says so when it does not', async () => {
    const dir = await tempDir()
    const authority = newAuthority(dir)
    const account = await startAccountApi({ api: { tls: authority.issue('busbar') } })
    await account.addUser('ann')
    const url = account.url.replace('http://127.0.0.1', 'https://localhost')
    const { run, login } = await machineOf(url)
    const caFile = join(dir, 'ca.pem')
    writeFileSync(caFile, authority.ca)
    const inClear = await run('whoami', '--url', account.url.replace('https:', 'http:'))
    expect(inClear.stderr).toMatch(/^error API_UNREACHABLE: .*\nnext: .*https:\/\/\n$/)
    expect(inClear.stderr).not.toContain('fetch')
    const untrusted = await login('ann')
    expect(untrusted.stderr).toMatch(/^error API_UNTRUSTED: .*\nnext: .*--ca-file/)
    expect(await login('ann', PASSWORD, '--ca-file', caFile)).toMatchObject({ code: 0 })
    expect(await run('whoami', '--ca-file', caFile)).toMatchObject({ code: 0, stdout: 'ann\n' })
  })
})

describe('busbar-cloud user and api-key', { timeout: 60_000 }, () => {
  it('let somebody in from the set-up link on, and a program by a key', async () => {
    const account = await startAccountApi()
    const { url, databaseUrl } = account
    const { run, login, dir } = await machineOf(url)
    const env = { BUSBAR_CLOUD_DATABASE_URL: databaseUrl, BUSBAR_CLOUD_API_PUBLIC_URL: 'https://busbar.example' }
    const link = await busbar('cloud', ['setup-link'], { env })
    expect(link.stdout).toMatch(/^https:\/\/busbar\.example\/setup#bbs_[\w-]{43}\n$/)
    const elsewhere = join(dir, 'elsewhere', 'busbar.db')
    const dead = await busbar('cloud', ['setup-link'], { env: { BUSBAR_CLOUD_DATABASE_URL: `sqlite:${elsewhere}` } })
    expect(dead).toMatchObject({ code: 1, stdout: '' })
    expect(dead.stderr).toMatch(/^error DATABASE_MISSING: .*\nnext: .*where the core runs/)
    expect(existsSync(elsewhere)).toBe(false)
    const token = link.stdout.trim().split('#')[1] as string
    await account.identity.setup.setUp({ token, userId: 'root', password: PASSWORD }, '192.0.2.1')
    const again = await busbar('cloud', ['setup-link'], { env })
    expect(again).toMatchObject({ code: 1, stdout: '' })
    expect(again.stderr).toMatch(/^error SETUP_DONE/)

    await login('root')
    const wrong = await run('user', 'add', 'ann', 'boss@1')
    expect(wrong).toMatchObject({ code: 64 })
    expect(wrong.stderr).toContain('viewer, operator, engineer, admin, auditor')
    const added = await run('user', 'add', 'ann', 'operator@1', 'viewer', '--name', 'Ann Lee')
    expect(added.stdout).toContain('roles    operator@1 viewer\n')
    expect(added.stdout).toContain('not yet: there is no password')
    expect((await run('user', 'grant', 'ann', 'engineer@2')).stdout).toContain('engineer@2 operator@1 viewer')
    expect((await run('user', 'revoke', 'ann', 'viewer')).stdout).toContain('engineer@2 operator@1\n')
    const chosen = await run('user', 'password-link', 'ann')
    expect(chosen.stdout).toMatch(new RegExp(`^${url}/password#bbp_[\\w-]{43}&ann\\n$`))
    const [, chosenBy = ''] = /#(.*)&/.exec(chosen.stdout) ?? []
    await account.identity.passwordLogins.choose(chosenBy, PASSWORD, '192.0.2.1')
    const listed = await run('user', 'list')
    expect(listed.stdout).toMatch(/^ann\tAnn Lee\tactive\tengineer@2 operator@1\t-\nroot\t-\tactive\tadmin\t/)
    expect(JSON.parse((await run('user', 'logins', 'root', '--json')).stdout)).toMatchObject([{ current: true }])

    const keyFile = join(dir, 'billing.key')
    const create = ['api-key', 'create', 'billing', '--scope', 'sites:read', '--grant', 'viewer']
    const made = await run(...create, '--expires-in', '90d', '--out', keyFile)
    expect(made).toMatchObject({ code: 0, stdout: '' })
    expect(statSync(keyFile).mode & 0o777).toBe(0o600)
    expect((await run(...create, '--out', keyFile)).stderr).toMatch(/^error USAGE/)
    const id = (await run('whoami', '--token-file', keyFile)).stdout.trim()
    expect(id).toMatch(/^api-key:/)
    const env2 = { BUSBAR_CLOUD_TOKEN: readFileSync(keyFile, 'utf8').trim(), BUSBAR_CLOUD_URL: url }
    expect((await busbar('cloud', ['whoami'], { env: env2 })).stdout).toBe(`${id}\n`)
    expect((await run('api-key', 'list')).stdout).toMatch(/\tbilling\tgood\tsites:read\tviewer\troot\t/)
    expect((await run('api-key', 'revoke', id.split(':')[1] as string)).stderr).toContain('billing is revoked')
    const refused = await run('api-key', 'list', '--token-file', keyFile)
    expect(refused.stderr).toMatch(/^error API_KEY_REVOKED: .*\nnext: the API key is not taken/)
    chmodSync(keyFile, 0o644)
    expect((await run('whoami', '--token-file', keyFile)).stderr).toMatch(/^error TOKEN_EXPOSED/)

    expect((await run('user', 'disable', 'ann')).stdout).toContain('status   disabled')
    expect((await run('user', 'enable', 'ann')).stdout).toContain('status   active')
    expect((await run('user', 'disable', 'root')).stderr).toMatch(/^error LAST_ADMINISTRATOR/)
  })
})
