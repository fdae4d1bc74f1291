import { beforeEach, expect, test } from 'vitest'
import { LOCAL_CALLER } from '../../../cloud/identity/identity.ts'
import { DAY_MS } from '../../../shared/durations.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { CLIENT, type IdentityCore, identityCore, PASSWORD } from '../../support/identity-core.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const ENDED = { refusal: 'UNAUTHENTICATED', code: 'LOGIN_ENDED', message: 'This login has ended.' }

await describeOnEveryDatabase('logins', (databases) => {
  let clock: ManualClock
  /** Two cores that share the database. */
  let one: IdentityCore
  let other: IdentityCore

  beforeEach(async () => {
    clock = new ManualClock()
    const url = await databases.freshUrl()
    one = identityCore(await databases.open({ url }), { clock })
    other = identityCore(await databases.open({ url }), { clock })
    await one.addUser('ann', [{ role: 'operator', siteId: 1 }])
  })

  const caller = (core: IdentityCore, token: string) => core.identity.authenticate(token)

  test('a login is good on every core, for as long as its access token', async () => {
    const { accessToken, expiresAtMs } = await one.logIn('ann')
    const known = await caller(other, accessToken)
    expect(known).toMatchObject({ kind: 'user', id: 'ann', scopes: null })
    expect(known.sites('viewer')).toEqual(new Set([1]))
    expect(known.sites('engineer')).toEqual(new Set())
    clock.advance(expiresAtMs - clock.wallMs() + 6_000)
    await expect(caller(other, accessToken)).rejects.toMatchObject({ code: 'ACCESS_TOKEN_EXPIRED' })
  })

  test('a refresh token is good once, and gives new tokens of the same login', async () => {
    const first = await one.logIn('ann')
    clock.advance(60_000)
    const second = await other.identity.logins.refresh(first.refreshToken, CLIENT.address)
    expect(second.loginId).toBe(first.loginId)
    expect(second.refreshToken).not.toBe(first.refreshToken)
    expect(second.expiresAtMs).toBe(first.expiresAtMs + 60_000)
    await expect(caller(one, second.accessToken)).resolves.toMatchObject({ id: 'ann' })
  })

  test('a stolen refresh token used after its owner ends the login of both', async () => {
    const { refreshToken, accessToken, loginId } = await one.logIn('ann')
    const owner = await one.identity.logins.refresh(refreshToken, CLIENT.address)
    await expect(other.identity.logins.refresh(refreshToken, '203.0.113.9')).rejects.toMatchObject(ENDED)
    await expect(one.identity.logins.refresh(owner.refreshToken, CLIENT.address)).rejects.toMatchObject(ENDED)
    for (const token of [accessToken, owner.accessToken]) {
      await expect(caller(other, token)).rejects.toMatchObject(ENDED)
    }
    expect(other.events).toMatchObject([{ kind: 'refresh-token-reused', subject: 'ann', address: '203.0.113.9' }])
    expect(other.events[0]?.detail).toContain(loginId)
    expect(JSON.stringify(other.events)).not.toContain(refreshToken)
    // It ended once; a third use tells nothing new.
    await expect(one.identity.logins.refresh(refreshToken, '203.0.113.9')).rejects.toMatchObject(ENDED)
    expect(one.events).toEqual([])
  })

  test('of a token used on two cores at once one gets tokens at most, and none of them is good', async () => {
    for (let round = 0; round < 5; round++) {
      const { refreshToken, accessToken } = await one.logIn('ann')
      const uses = [one, other, one, other].map((core) => core.identity.logins.refresh(refreshToken, CLIENT.address))
      const outcomes = await Promise.allSettled(uses)
      const won = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
      expect(won).toHaveLength(1)
      clock.advance(5_000)
      for (const tokens of won) {
        await expect(caller(other, tokens.accessToken)).rejects.toMatchObject(ENDED)
        await expect(one.identity.logins.refresh(tokens.refreshToken, CLIENT.address)).rejects.toMatchObject(ENDED)
      }
      await expect(caller(one, accessToken)).rejects.toMatchObject(ENDED)
    }
  })

  test('tokens that nobody was given are refused in the same words', async () => {
    const forged = `bbr_${'A'.repeat(43)}`
    for (const token of ['', 'x', forged, `${forged}'`, `bbs_${'A'.repeat(43)}`, '\u0000'.repeat(47)]) {
      await expect(one.identity.logins.refresh(token, CLIENT.address)).rejects.toMatchObject(ENDED)
    }
    expect(one.events).toEqual([])
  })

  test('the database holds nothing to log in with', async () => {
    const { refreshToken, accessToken } = await one.logIn('ann')
    const { kysely } = one.database
    const rows = JSON.stringify([
      await kysely.selectFrom('users').selectAll().execute(),
      await kysely.selectFrom('login_sessions').selectAll().execute(),
      await kysely.selectFrom('refresh_tokens').selectAll().execute(),
      await kysely.selectFrom('one_time_links').selectAll().execute(),
    ])
    for (const secret of [refreshToken, refreshToken.slice(4), accessToken, PASSWORD])
      expect(rows).not.toContain(secret)
    expect(rows).toContain('$argon2id$')
  })

  test('a login ends when it is not used, and in the end even when it is', async () => {
    const idle = await one.logIn('ann')
    clock.advance(14 * DAY_MS)
    await expect(one.identity.logins.refresh(idle.refreshToken, CLIENT.address)).rejects.toMatchObject(ENDED)
    let busy = await one.logIn('ann')
    for (let day = 0; day < 89; day += 13) {
      clock.advance(Math.min(13, 89 - day) * DAY_MS)
      busy = await one.identity.logins.refresh(busy.refreshToken, CLIENT.address)
    }
    expect(busy.refreshExpiresAtMs - clock.wallMs()).toBe(DAY_MS)
    clock.advance(DAY_MS)
    await expect(one.identity.logins.refresh(busy.refreshToken, CLIENT.address)).rejects.toMatchObject(ENDED)
  })

  test('who logs out is logged out here at once, and on another core within recheckMs', async () => {
    const { accessToken, loginId, refreshToken } = await one.logIn('ann')
    await caller(one, accessToken)
    await caller(other, accessToken)
    await one.identity.logins.endByToken(refreshToken)
    await expect(caller(one, accessToken)).rejects.toMatchObject(ENDED)
    await expect(caller(other, accessToken)).resolves.toMatchObject({ credentialId: loginId })
    clock.advance(5_000)
    await expect(caller(other, accessToken)).rejects.toMatchObject(ENDED)
    await expect(other.identity.logins.refresh(refreshToken, CLIENT.address)).rejects.toMatchObject(ENDED)
  })

  test('a role that is taken is noticed by another core within recheckMs', async () => {
    const { accessToken } = await one.logIn('ann')
    const before = await caller(other, accessToken)
    await one.identity.users.grant('ann', { give: [], take: [{ role: 'operator', siteId: 1 }] }, LOCAL_CALLER)
    expect((await caller(one, accessToken)).sites('operator')).toEqual(new Set())
    clock.advance(4_999)
    expect((await caller(other, accessToken)).sites('operator')).toEqual(new Set([1]))
    clock.advance(1)
    const after = await caller(other, accessToken)
    expect(after.sites('operator')).toEqual(new Set())
    expect(after.version).not.toBe(before.version)
  })

  test('a user who is disabled is logged out, and cannot come back', async () => {
    const { accessToken, refreshToken } = await one.logIn('ann')
    await caller(other, accessToken)
    await one.identity.users.change('ann', { status: 'disabled' }, LOCAL_CALLER)
    clock.advance(5_000)
    await expect(caller(other, accessToken)).rejects.toMatchObject(ENDED)
    await expect(other.identity.logins.refresh(refreshToken, CLIENT.address)).rejects.toMatchObject(ENDED)
    await expect(other.logIn('ann')).rejects.toMatchObject({ code: 'LOGIN_FAILED' })
    // Even where a login was opened past the password, as by an identity provider.
    await expect(other.identity.logins.open('ann', 'oidc', CLIENT)).rejects.toMatchObject(ENDED)
    await one.identity.users.change('ann', { status: 'active' }, LOCAL_CALLER)
    clock.advance(5_000)
    await expect(caller(other, accessToken)).rejects.toMatchObject(ENDED)
    await expect(other.logIn('ann')).resolves.toMatchObject({ user: { id: 'ann' } })
  })

  test('who holds a socket is rechecked: refreshed in time they go on, otherwise not', async () => {
    const tokens = await one.logIn('ann')
    const stays = await caller(one, tokens.accessToken)
    const leaves = await caller(one, (await one.logIn('ann')).accessToken)
    const both = [stays, leaves]
    expect((await other.identity.recheck(both)).size).toBe(2)
    clock.advance(300_000)
    await other.identity.logins.refresh(tokens.refreshToken, CLIENT.address)
    clock.advance(300_001)
    expect([...(await one.identity.recheck(both)).keys()]).toEqual([stays.credentialId])
    await other.identity.users.grant('ann', { give: [{ role: 'engineer', siteId: 2 }], take: [] }, LOCAL_CALLER)
    const now = (await one.identity.recheck(both)).get(tokens.loginId)
    expect(now?.sites('engineer')).toEqual(new Set([2]))
    await other.identity.logins.end(tokens.loginId, 'test')
    expect((await one.identity.recheck(both)).size).toBe(0)
    expect([...(await one.identity.recheck([LOCAL_CALLER])).values()]).toEqual([LOCAL_CALLER])
  })

  test('users see their own logins and end them, and nobody else’s', async () => {
    await one.addUser('bob')
    const ann = await one.logIn('ann')
    clock.advance(1)
    const second = await one.logIn('ann')
    const bob = await one.logIn('bob')
    const listed = await one.identity.logins.list('ann', { limit: 1 })
    expect(listed.items).toMatchObject([{ id: second.loginId, address: CLIENT.address, userAgent: 'test' }])
    const next = await one.identity.logins.list('ann', { cursor: listed.next as string })
    expect(next.items.map(({ id }) => id)).toEqual([ann.loginId])
    expect(await one.identity.logins.endOwn('ann', bob.loginId)).toBe(false)
    expect(await one.identity.logins.endOwn('ann', "' or 1=1")).toBe(false)
    await expect(caller(one, bob.accessToken)).resolves.toMatchObject({ id: 'bob' })
    expect(await one.identity.logins.endOwn('ann', ann.loginId)).toBe(true)
    expect(await one.identity.logins.endOwn('ann', ann.loginId)).toBe(false)
    await expect(caller(one, ann.accessToken)).rejects.toMatchObject(ENDED)
    expect(await one.identity.users.endLogins('ann', LOCAL_CALLER)).toBe(1)
    await expect(caller(one, second.accessToken)).rejects.toMatchObject(ENDED)
  })

  test('beyond a hundred logins of one user the oldest ends', async () => {
    const first = await one.identity.logins.open('ann', 'oidc', CLIENT)
    for (let i = 0; i < 100; i++) {
      clock.advance(1)
      await one.identity.logins.open('ann', 'oidc', CLIENT)
    }
    expect((await one.identity.logins.list('ann', { limit: 500 })).items).toHaveLength(100)
    await expect(one.identity.logins.refresh(first.refreshToken, CLIENT.address)).rejects.toMatchObject(ENDED)
  })

  test('what is long over is forgotten, and what goes on is not', async () => {
    const old = await one.logIn('ann')
    clock.advance(50 * DAY_MS)
    const fresh = await one.logIn('ann')
    await one.identity.logins.purge()
    const left = await one.database.kysely.selectFrom('login_sessions').select('id').execute()
    expect(left).toEqual([{ id: fresh.loginId }])
    await expect(one.identity.logins.refresh(old.refreshToken, CLIENT.address)).rejects.toMatchObject(ENDED)
    await expect(one.identity.logins.refresh(fresh.refreshToken, CLIENT.address)).resolves.toBeDefined()
  })

  test('many requests of one login at once ask the database once', async () => {
    const { accessToken } = await one.logIn('ann')
    let asked = 0
    const watched = new Proxy(one.database.kysely, {
      get(target, name) {
        if (name === 'selectFrom') asked++
        const value = Reflect.get(target, name)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
    const database = new Proxy(one.database, {
      get: (target, name) => (name === 'kysely' ? watched : Reflect.get(target, name)),
    })
    const core = identityCore(database, { clock })
    await Promise.all(Array.from({ length: 50 }, () => caller(core, accessToken)))
    // The login with its user, and the roles.
    expect(asked).toBe(2)
  })
})
