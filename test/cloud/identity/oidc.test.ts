import { describe, expect, it, onTestFinished } from 'vitest'
import { type DatabaseHandle, openDatabase } from '../../../cloud/database/database.ts'
import { MasterKey, OidcLogins, type OidcSettings, type SecurityEvent } from '../../../cloud/identity/identity.ts'
import { newAttempt } from '../../../cloud/identity/oidc-attempt.ts'
import { grantsOfGroups, readRolesByGroup } from '../../../cloud/identity/oidc-claims.ts'
import { grantText } from '../../../cloud/identity/user.ts'
import { type Clock, systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { RedirectWalk, startIdentityProvider } from '../../support/identity-provider.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const CALLBACK = 'http://127.0.0.1:1/api/v1/auth/oidc/callback'
const ANN = {
  sub: 'subject-1',
  preferred_username: 'ann',
  name: 'Ann Lee',
  email: 'ann@x.example',
  groups: ['ops', 'x'],
}

async function loginsOn(
  opened: () => Promise<DatabaseHandle>,
  settings: Partial<OidcSettings> = {},
  clock: Clock = systemClock,
) {
  const idp = await startIdentityProvider([CALLBACK])
  const handle = await opened()
  const noted: SecurityEvent[] = []
  let changes = 0
  const logins = new OidcLogins({
    settings: {
      issuer: idp.issuer,
      clientId: idp.clientId,
      clientSecret: idp.clientSecret,
      scope: 'openid profile email',
      userClaim: 'preferred_username',
      rolesClaim: 'groups',
      roles: { ops: 'operator@1 operator@2', bosses: 'admin' },
      insecure: true,
      ...settings,
    },
    database: handle,
    masterKey: new MasterKey([systemRandom.bytes(32)], systemRandom),
    events: { note: (event) => void noted.push(event) },
    onChange() {
      changes++
    },
    clock,
    random: systemRandom,
    log: silentLogger,
  })
  /** As far as the URL at which the browser comes back. */
  const walk = async (browser = new RedirectWalk(), change?: (url: URL) => void, returnTo: string | null = null) => {
    const { url, sealed } = await logins.begin(CALLBACK, returnTo)
    change?.(url)
    return { callback: await browser.follow(url, CALLBACK), sealed }
  }
  const login = async (returnTo: string | null = null) => {
    const { callback, sealed } = await walk(undefined, undefined, returnTo)
    return await logins.finish(callback, sealed, '192.0.2.1')
  }
  const user = async (id: string) => ({
    row: await handle.kysely.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst(),
    grants: (await handle.kysely.selectFrom('user_grants').selectAll().where('user_id', '=', id).execute())
      .map(({ role, site_id }) => `${role}@${site_id}`)
      .sort(),
  })
  return { idp, logins, handle, noted, walk, login, user, changes: () => changes }
}

const refused = (promise: Promise<unknown>, code: string) => expect(promise).rejects.toMatchObject({ code })

await describeOnEveryDatabase('users of an identity provider', (database) => {
  const open = () => loginsOn(() => database.open())

  it('makes a user with what the groups give, and brings it up to date at every login', async () => {
    const { idp, login, user, noted, changes } = await open()
    idp.account = ANN
    expect(await login('/docs?a=1')).toEqual({ userId: 'ann', returnTo: '/docs?a=1' })
    expect(await user('ann')).toMatchObject({
      row: { name: 'Ann Lee', email: 'ann@x.example', password_hash: null, oidc_subject: `${idp.issuer} subject-1` },
      grants: ['operator@1', 'operator@2'],
    })
    // The subject says who it is, whatever the name has become.
    idp.account = { ...ANN, preferred_username: 'ann.smith', name: 'Ann Smith', groups: ['bosses'] }
    expect((await login()).userId).toBe('ann')
    expect(await user('ann')).toMatchObject({ row: { name: 'Ann Smith' }, grants: ['admin@0'] })
    expect(noted).toMatchObject([{ kind: 'administrator-made', subject: 'ann' }])
    expect(changes()).toBe(2)
  })

  it('takes the roles of who has no group left, and says what is missing', async () => {
    const { idp, login, user, noted } = await open()
    idp.account = ANN
    await login()
    idp.account = { ...ANN, groups: ['x', 'y'] }
    const without = login()
    await refused(without, 'OIDC_NO_ROLE')
    await expect(without).rejects.toThrow('the groups x, y')
    expect((await user('ann')).grants).toEqual([])
    idp.account = { sub: 'new', preferred_username: 'new' }
    await expect(login()).rejects.toThrow('no groups (groups)')
    expect((await user('new')).row).toBeUndefined()
    expect(noted.map(({ kind }) => kind)).toEqual(['oidc-refused', 'oidc-refused'])
  })

  it('takes over nobody who is here by another way, and nobody who is disabled', async () => {
    const { idp, login, handle, user, noted } = await open()
    const row = { id: 'ann', name: null, email: null, password_hash: 'h', status: 'active', oidc_subject: null }
    const times = { created_at_ms: 0, updated_at_ms: 0, last_login_at_ms: null }
    await handle.kysely
      .insertInto('users')
      .values({ ...row, ...times })
      .execute()
    idp.account = { ...ANN, groups: ['bosses'] }
    await refused(login(), 'OIDC_USER_TAKEN')
    expect(await user('ann')).toMatchObject({ row: { oidc_subject: null }, grants: [] })
    expect(noted).toMatchObject([{ kind: 'oidc-refused', subject: `${idp.issuer} subject-1`, address: '192.0.2.1' }])

    idp.account = { ...ANN, sub: 'subject-2', preferred_username: 'bob' }
    await login()
    // Somebody else whom the provider now calls bob.
    idp.account = { ...ANN, sub: 'subject-3', preferred_username: 'bob', groups: ['bosses'] }
    await refused(login(), 'OIDC_USER_TAKEN')
    idp.account = { ...ANN, sub: 'subject-2', preferred_username: 'bob' }
    await handle.kysely.updateTable('users').set({ status: 'disabled' }).where('id', '=', 'bob').execute()
    await refused(login(), 'USER_DISABLED')
  })

  it('makes one user of two first logins at once', async () => {
    const { idp, login, user } = await open()
    idp.account = ANN
    expect(await Promise.all([login(), login()])).toMatchObject([{ userId: 'ann' }, { userId: 'ann' }])
    expect((await user('ann')).grants).toEqual(['operator@1', 'operator@2'])
  })
})

async function inMemory(): Promise<DatabaseHandle> {
  const handle = openDatabase({ url: 'memory:', clock: systemClock, log: silentLogger })
  onTestFinished(() => handle.stop())
  await handle.start()
  return handle
}

describe('login at an identity provider', () => {
  const open = (settings?: Partial<OidcSettings>, clock?: Clock) => loginsOn(inMemory, settings, clock)

  it('takes roles by group that there are, and says which is none', () => {
    const roles = readRolesByGroup({ ops: 'operator@1, operator@2', 'all of us': 'viewer' })
    expect(grantsOfGroups(['ops', 'all of us', 'others'], roles).map(grantText)).toEqual([
      'operator@1',
      'operator@2',
      'viewer',
    ])
    for (const wrong of ['boss', 'operator@0', 'operator@x', 'Viewer', ''])
      expect(() => readRolesByGroup({ ops: `${wrong}` }), wrong).toThrow('the group "ops" cannot have the role')
  })

  it('leads nobody elsewhere afterwards', () => {
    const tools = { clock: systemClock, random: systemRandom }
    const elsewhere = [
      '//evil.example',
      'https://evil.example',
      '/\\evil.example',
      '/\t/evil.example',
      'docs',
      '/.//evil.example',
      '/x/..//evil.example',
      '/./\\evil.example',
      '',
      null,
    ]
    for (const given of elsewhere) expect(newAttempt(given, tools).returnTo, String(given)).toBe('/docs')
    expect(newAttempt('/sites/../x?a=//b', tools).returnTo).toBe('/x?a=//b')
  })

  it('makes no user whose name is none, or is one of those that programs have', async () => {
    const { idp, login } = await open()
    for (const preferred_username of ['api-key:1', 'a b', 'local', '', 7]) {
      idp.account = { ...ANN, sub: `called ${preferred_username}`, preferred_username }
      await refused(login(), 'OIDC_USER_UNNAMED')
    }
  })

  it('refuses a forged state, another browser, a replay, a wrong nonce and a wrong verifier', async () => {
    const { idp, logins, walk, noted } = await open()
    idp.account = ANN
    const finish = (url: URL, sealed: string | null) => logins.finish(url, sealed, '192.0.2.1')
    const good = await walk()
    const other = await walk()
    await refused(finish(good.callback, null), 'OIDC_REFUSED')
    await refused(finish(good.callback, other.sealed), 'OIDC_REFUSED')
    await refused(finish(good.callback, `${good.sealed.slice(0, -3)}AAA`), 'OIDC_REFUSED')
    const forged = new URL(good.callback)
    forged.searchParams.set('state', 'forged')
    await refused(finish(forged, good.sealed), 'OIDC_REFUSED')
    // The code is still good: nothing of the above reached the provider.
    expect(await finish(good.callback, good.sealed)).toMatchObject({ userId: 'ann' })
    await refused(finish(good.callback, good.sealed), 'OIDC_REFUSED')

    const nonce = await walk(undefined, (url) => url.searchParams.set('nonce', 'n'.repeat(43)))
    await refused(finish(nonce.callback, nonce.sealed), 'OIDC_REFUSED')
    const challenge = await walk(undefined, (url) => url.searchParams.set('code_challenge', 'c'.repeat(43)))
    await refused(finish(challenge.callback, challenge.sealed), 'OIDC_REFUSED')
    // A code of somebody else, put into one's own login.
    const swapped = new URL(other.callback)
    swapped.searchParams.set('code', (await walk()).callback.searchParams.get('code') ?? '')
    await refused(finish(swapped, other.sealed), 'OIDC_REFUSED')
    expect(noted.length).toBe(8)
    expect(JSON.stringify(noted)).not.toContain(good.callback.searchParams.get('code'))
  })

  it('lets in nobody whom the provider refuses, nor who took too long', async () => {
    const clock = new ManualClock(Date.now())
    const { idp, logins, walk } = await open({}, clock)
    const denied = await walk()
    await refused(logins.finish(denied.callback, denied.sealed, ''), 'OIDC_REFUSED')
    idp.account = ANN
    const late = await walk()
    clock.advance(600_001)
    await refused(logins.finish(late.callback, late.sealed, ''), 'OIDC_REFUSED')
  })

  it('says that the provider is away, and goes on when it is back', async () => {
    const { idp, logins, walk, login } = await open()
    idp.account = ANN
    await idp.stop()
    await expect(logins.begin(CALLBACK, null)).rejects.toMatchObject({ code: 'OIDC_UNAVAILABLE', retryable: true })
    await idp.start()
    expect((await login()).userId).toBe('ann')
    const begun = await walk()
    await idp.stop()
    await refused(logins.finish(begun.callback, begun.sealed, ''), 'OIDC_UNAVAILABLE')
    await idp.start()
    expect(await logins.finish(begun.callback, begun.sealed, '')).toMatchObject({ userId: 'ann' })
  })

  it('tells an operator of a wrong client secret, not the user', async () => {
    const { idp, login } = await open({ clientSecret: 'another' })
    idp.account = ANN
    await refused(login(), 'OIDC_UNAVAILABLE')
  })

  it('talks to no provider without TLS unless that is said', async () => {
    const { idp, logins } = await open({ insecure: false })
    idp.account = ANN
    await refused(logins.begin(CALLBACK, null), 'OIDC_UNAVAILABLE')
  })
})
