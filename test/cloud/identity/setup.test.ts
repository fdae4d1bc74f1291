import { Writable } from 'node:stream'
import pino from 'pino'
import { beforeEach, expect, test } from 'vitest'
import { OneTimeLinks } from '../../../cloud/identity/one-time-links.ts'
import { HOUR_MS } from '../../../shared/durations.ts'
import { systemRandom } from '../../../shared/random.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { CLIENT, type IdentityCore, identityCore } from '../../support/identity-core.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const PLANTED = 'planted-Pa55word-planted'
const INVALID = { refusal: 'UNAUTHENTICATED', code: 'LINK_INVALID' }

await describeOnEveryDatabase('set-up', (databases) => {
  let clock: ManualClock
  let one: IdentityCore
  let other: IdentityCore
  let lines: string[]

  beforeEach(async () => {
    clock = new ManualClock()
    lines = []
    const write = (line: Buffer, _encoding: string, done: () => void) => {
      lines.push(String(line))
      done()
    }
    const log = pino({ level: 'trace' }, new Writable({ write }))
    const url = await databases.freshUrl()
    one = identityCore(await databases.open({ url, log }), { clock, log })
    other = identityCore(await databases.open({ url, log }), { clock, log })
  })

  const linkOf = async (core: IdentityCore) => (await core.identity.setup.ensureSetupLink())?.token ?? ''
  const setUp = (core: IdentityCore, token: string, userId = 'root') =>
    core.identity.setup.setUp({ token, userId, password: PLANTED, name: 'Root' }, CLIENT.address)

  test('the link of a start makes the first administrator, who logs in then', async () => {
    const user = await setUp(one, await linkOf(one))
    expect(user).toMatchObject({
      id: 'root',
      name: 'Root',
      grants: [{ role: 'admin', siteId: 'all' }],
      hasPassword: true,
    })
    const { accessToken } = await other.logIn('root', PLANTED)
    expect((await other.identity.authenticate(accessToken)).sites('admin')).toBe('all')
    expect(await one.identity.setup.ensureSetupLink()).toBeNull()
    expect(one.events).toMatchObject([{ kind: 'administrator-made', subject: 'root', address: CLIENT.address }])
  })

  test('each core has a link of its own; the first that is used voids all of them', async () => {
    const links = [await linkOf(one), await linkOf(other), await linkOf(one)] as const
    expect(new Set(links).size).toBe(3)
    await setUp(other, links[0])
    for (const link of links) await expect(setUp(one, link, 'eve')).rejects.toMatchObject(INVALID)
    expect(one.events.filter(({ kind }) => kind === 'link-refused')).toHaveLength(3)
  })

  test('of many who use one link, or each another, at once on two cores one wins', async () => {
    const own = await linkOf(one)
    const others = [await linkOf(other), await linkOf(other)]
    const uses = [own, own, ...others].map((token, i) => setUp(i % 2 === 0 ? one : other, token, `user-${i}`))
    const outcomes = await Promise.allSettled(uses)
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject(INVALID)
    expect(await one.database.kysely.selectFrom('users').select('id').execute()).toHaveLength(1)
  })

  test('of transactions on two cores that use one link at once one is told that it was good', async () => {
    for (let round = 0; round < 5; round++) {
      const links = [one, other].map(({ database }) => {
        return new OneTimeLinks({ database, clock, random: systemRandom, lifetimeMs: HOUR_MS })
      }) as [OneTimeLinks, OneTimeLinks]
      const of = { userId: 'ann', madeBy: null }
      const { token } = await one.database.transaction((transaction) => links[0].make('password', of, transaction))
      const uses = [one, other, one, other].map(({ database }, i) =>
        database.transaction((transaction) => (links[i % 2] as OneTimeLinks).use('password', token, transaction)),
      )
      expect((await Promise.all(uses)).filter(Boolean)).toHaveLength(1)
    }
  })

  test('a link that has expired, or that nobody made, is refused', async () => {
    const link = await linkOf(one)
    for (const token of [
      '',
      'x',
      `${link}x`,
      link.slice(0, -1),
      link.replace('bbs_', 'bbp_'),
      `bbs_${'A'.repeat(43)}`,
    ]) {
      await expect(setUp(one, token)).rejects.toMatchObject(INVALID)
    }
    clock.advance(24 * HOUR_MS)
    await expect(setUp(one, link)).rejects.toMatchObject(INVALID)
    await expect(setUp(one, await linkOf(one))).resolves.toBeDefined()
  })

  test('what is wrong with the first user leaves the link good', async () => {
    const token = await linkOf(one)
    const { setup } = one.identity
    const user = { token, userId: 'root', password: PLANTED }
    for (const wrong of [{ userId: 'local' }, { userId: 'a b' }, { password: 'short' }, { name: ' x' }]) {
      await expect(setup.setUp({ ...user, ...wrong }, CLIENT.address)).rejects.toMatchObject({
        code: 'REGISTRATION_INVALID',
      })
    }
    await one.database.kysely
      .insertInto('users')
      .values({ id: 'taken', status: 'active', created_at_ms: 1, updated_at_ms: 1 })
      .execute()
    await expect(setUp(one, token, 'taken')).rejects.toMatchObject({ code: 'USER_EXISTS' })
    await expect(setUp(one, token)).resolves.toBeDefined()
  })

  test('cores that start over and over leave no more links than can be counted', async () => {
    const first = await linkOf(one)
    for (let i = 0; i < 16; i++) {
      clock.advance(1_000)
      await linkOf(one)
    }
    await expect(setUp(one, first)).rejects.toMatchObject(INVALID)
    const good = one.database.kysely
      .selectFrom('one_time_links')
      .select('created_at_ms')
      .where('used_at_ms', 'is', null)
    expect(await good.execute()).toHaveLength(16)
  })

  test('neither a password nor a token is in any line of the log, at whatever level', async () => {
    const token = await linkOf(one)
    await expect(setUp(one, `${token.slice(0, -1)}_`)).rejects.toBeDefined()
    await setUp(one, token)
    await expect(one.logIn('root', `${PLANTED}-wrong`)).rejects.toBeDefined()
    const tokens = await one.logIn('root', PLANTED)
    const root = await one.identity.authenticate(tokens.accessToken)
    await one.identity.passwordLogins.change(root, PLANTED, `${PLANTED}-next`, CLIENT.address)
    const next = await one.identity.logins.refresh(tokens.refreshToken, CLIENT.address)
    await expect(one.identity.logins.refresh(tokens.refreshToken, CLIENT.address)).rejects.toBeDefined()
    const log = lines.join('')
    expect(log).toContain('the first administrator has been made')
    const secrets = [
      PLANTED,
      token.slice(4),
      tokens.accessToken,
      tokens.refreshToken.slice(4),
      next.refreshToken.slice(4),
    ]
    for (const secret of secrets) expect(log).not.toContain(secret)
    expect(JSON.stringify(one.events)).not.toMatch(new RegExp(secrets.join('|')))
  })
})
