import { beforeEach, expect, test } from 'vitest'
import {
  ApiKeys,
  type Caller,
  callerOf,
  type Grant,
  LOCAL_CALLER,
  type User,
} from '../../../cloud/identity/identity.ts'
import { Lockout } from '../../../cloud/identity/lockout.ts'
import { OneTimeLinks } from '../../../cloud/identity/one-time-links.ts'
import { PasswordLogins } from '../../../cloud/identity/password-logins.ts'
import { Passwords } from '../../../cloud/identity/passwords.ts'
import { systemClock } from '../../../shared/clock.ts'
import { HOUR_MS } from '../../../shared/durations.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { CLIENT, IDENTITY_SETTINGS, type IdentityCore, identityCore, PASSWORD } from '../../support/identity-core.ts'

const EVERYTHING: Grant = { role: 'admin', siteId: 'all' }
const at = (role: Grant['role'], ...siteIds: number[]): Grant[] => siteIds.map((siteId) => ({ role, siteId }))

function callerWith(id: string, grants: readonly Grant[]): Caller {
  return callerOf({ kind: 'user', id, credentialId: 'x', scopes: null }, grants)
}

/** Logging in on a core whose passwords are looked at by `passwords`. */
function slowLogins({ database, identity }: IdentityCore, passwords: Passwords): PasswordLogins {
  const common = { database, clock: systemClock, random: systemRandom, log: silentLogger, settings: IDENTITY_SETTINGS }
  const events = { note: () => undefined }
  return new PasswordLogins({
    ...{ ...common, events, passwords, logins: identity.logins, onChange: () => undefined },
    lockout: new Lockout({ ...common, events }),
    links: new OneTimeLinks({ ...common, lifetimeMs: HOUR_MS }),
  })
}

await describeOnEveryDatabase('users', (databases) => {
  let one: IdentityCore
  let other: IdentityCore

  beforeEach(async () => {
    const url = await databases.freshUrl()
    one = identityCore(await databases.open({ url }))
    other = identityCore(await databases.open({ url }))
  })

  test('are made, found, listed in pages, changed and disabled', async () => {
    const { users } = one.identity
    const made = await users.create({ id: 'ann@example.org', name: 'Ann', grants: at('operator', 2, 1) }, LOCAL_CALLER)
    expect(made).toMatchObject({ status: 'active', hasPassword: false, email: null, grants: at('operator', 1, 2) })
    await users.create({ id: 'bob', grants: [] }, LOCAL_CALLER)
    await expect(users.create({ id: 'bob', grants: [] }, LOCAL_CALLER)).rejects.toMatchObject({ code: 'USER_EXISTS' })
    const page = await users.list({ limit: 1 }, LOCAL_CALLER)
    expect(page.items).toEqual([made])
    const rest = await users.list({ cursor: page.next as string }, LOCAL_CALLER)
    expect(rest).toMatchObject({ items: [{ id: 'bob' }], next: null })
    const changes = { name: null, email: 'ann@example.org', grants: [...at('viewer', 3), ...at('viewer', 3)] }
    const changed = await users.change('ann@example.org', changes, LOCAL_CALLER)
    expect(changed).toMatchObject({ name: null, email: 'ann@example.org', grants: at('viewer', 3) })
    const granted = await users.grant('bob', { give: at('engineer', 1), take: at('viewer', 9) }, LOCAL_CALLER)
    expect(granted?.grants).toEqual(at('engineer', 1))
    expect(await users.get('nobody', LOCAL_CALLER)).toBeNull()
    expect(await users.change('nobody', { name: 'x' }, LOCAL_CALLER)).toBeNull()
  })

  test('do not get names that stand for something else', async () => {
    const { users } = one.identity
    for (const id of [
      '',
      'a b',
      'a\u0000',
      "x'--",
      'local',
      'LOCAL',
      'api-key:1234',
      'system',
      'Anonymous',
      'x'.repeat(129),
    ]) {
      await expect(users.create({ id, grants: [] }, LOCAL_CALLER), id).rejects.toMatchObject({
        code: 'REGISTRATION_INVALID',
      })
    }
    for (const wrong of [{ name: ' x' }, { name: 'a\nb' }, { email: 'x' }, { email: 'a@b\r\nBcc: c@d' }]) {
      await expect(users.create({ id: 'ok', grants: [], ...wrong }, LOCAL_CALLER)).rejects.toMatchObject({
        code: 'REGISTRATION_INVALID',
      })
    }
  })

  test('the last who can administer everything stays so', async () => {
    const { users } = one.identity
    await users.create({ id: 'root', grants: [EVERYTHING, ...at('viewer', 1)] }, LOCAL_CALLER)
    await users.create({ id: 'disabled', grants: [EVERYTHING] }, LOCAL_CALLER)
    await users.change('disabled', { status: 'disabled' }, LOCAL_CALLER)
    const refused = { refusal: 'CONFLICT', code: 'LAST_ADMINISTRATOR' }
    await expect(users.change('root', { status: 'disabled' }, LOCAL_CALLER)).rejects.toMatchObject(refused)
    await expect(users.change('root', { grants: at('admin', 1) }, LOCAL_CALLER)).rejects.toMatchObject(refused)
    await expect(users.grant('root', { give: [], take: [EVERYTHING] }, LOCAL_CALLER)).rejects.toMatchObject(refused)
    expect(await users.get('root', LOCAL_CALLER)).toMatchObject({
      status: 'active',
      grants: [EVERYTHING, ...at('viewer', 1)],
    })
    await users.change('root', { name: 'Still here', grants: [EVERYTHING] }, LOCAL_CALLER)
    await users.change('disabled', { status: 'active' }, LOCAL_CALLER)
    await expect(users.change('root', { status: 'disabled' }, LOCAL_CALLER)).resolves.toMatchObject({
      status: 'disabled',
    })
  })

  test('two administrators who disable each other at once, on two cores, leave one', async () => {
    for (let round = 0; round < 5; round++) {
      const [a, b] = [`a${round}`, `b${round}`]
      await one.identity.users.create({ id: a, grants: [EVERYTHING] }, LOCAL_CALLER)
      await one.identity.users.create({ id: b, grants: [EVERYTHING] }, LOCAL_CALLER)
      const outcomes = await Promise.allSettled([
        one.identity.users.change(a, { status: 'disabled' }, callerWith(b, [EVERYTHING])),
        other.identity.users.grant(b, { give: [], take: [EVERYTHING] }, callerWith(a, [EVERYTHING])),
      ])
      expect(outcomes.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
      expect(outcomes.find(({ status }) => status === 'rejected')).toMatchObject({
        reason: { code: 'LAST_ADMINISTRATOR' },
      })
      // What is left is taken out of the way of the next round.
      await one.database.kysely.deleteFrom('user_grants').execute()
    }
  })

  test('who administers certain sites sees and changes the users of these alone', async () => {
    const { users } = one.identity
    const cases: Record<string, readonly Grant[]> = {
      within: at('operator', 1),
      both: at('viewer', 1, 2),
      beyond: [...at('viewer', 1), ...at('viewer', 3)],
      elsewhere: at('viewer', 3),
      everywhere: [{ role: 'viewer', siteId: 'all' }],
      root: [EVERYTHING],
      nowhere: [],
    }
    for (const [id, grants] of Object.entries(cases)) await users.create({ id, grants }, LOCAL_CALLER)
    const eve = callerWith('eve', at('admin', 1, 2))
    const ids = ({ items }: { items: readonly User[] }) => items.map(({ id }) => id)
    expect(ids(await users.list({}, eve))).toEqual(['both', 'within'])
    for (const id of ['beyond', 'elsewhere', 'everywhere', 'root', 'nowhere']) {
      expect(await users.get(id, eve), id).toBeNull()
      expect(await users.change(id, { status: 'disabled' }, eve), id).toBeNull()
      expect(await users.grant(id, { give: at('viewer', 1), take: [] }, eve), id).toBeNull()
      expect(await users.passwordLink(id, eve), id).toBeNull()
      expect(await users.endLogins(id, eve), id).toBeNull()
    }
    await expect(users.change('within', { status: 'disabled' }, eve)).resolves.toMatchObject({ status: 'disabled' })
    // An auditor looks on.
    const auditor = callerWith('aud', at('auditor', 1, 2))
    expect(ids(await users.list({}, auditor))).toEqual(['both', 'within'])
    expect(await users.change('both', { name: 'x' }, auditor)).toBeNull()
    expect(ids(await users.list({}, callerWith('op', at('engineer', 1, 2))))).toEqual([])
  })

  test('nobody gives what is not theirs to give', async () => {
    const { users } = one.identity
    const missing = { refusal: 'FORBIDDEN', code: 'ROLE_MISSING' }
    const eve = callerWith('eve', [...at('admin', 1), ...at('engineer', 2), { role: 'viewer', siteId: 'all' }])
    await users.create({ id: 'bob', grants: at('viewer', 1) }, eve)
    const tooMuch: readonly Grant[][] = [
      [EVERYTHING],
      at('viewer', 2),
      [{ role: 'viewer', siteId: 'all' }],
      at('admin', 1, 2),
    ]
    for (const grants of tooMuch) {
      await expect(users.create({ id: 'new', grants }, eve)).rejects.toMatchObject(missing)
      await expect(users.change('bob', { grants }, eve)).rejects.toMatchObject(missing)
      await expect(users.grant('bob', { give: grants, take: [] }, eve)).rejects.toMatchObject(missing)
    }
    // A user whom nobody but the administrators of everything would see any more.
    await expect(users.create({ id: 'new', grants: [] }, eve)).rejects.toMatchObject(missing)
    await expect(users.change('bob', { grants: [] }, eve)).rejects.toMatchObject(missing)
    expect(await users.get('new', LOCAL_CALLER)).toBeNull()
    expect((await users.get('bob', LOCAL_CALLER))?.grants).toEqual(at('viewer', 1))
    await expect(users.change('bob', { grants: at('admin', 1) }, eve)).resolves.toMatchObject({
      grants: at('admin', 1),
    })
  })

  test('nobody raises themselves', async () => {
    const { users } = one.identity
    await users.create({ id: 'eve', grants: at('admin', 1) }, LOCAL_CALLER)
    const eve = callerWith('eve', at('admin', 1))
    for (const give of [at('auditor', 1), at('admin', 2), [EVERYTHING]]) {
      await expect(users.grant('eve', { give, take: [] }, eve)).rejects.toMatchObject({ refusal: 'FORBIDDEN' })
    }
    await expect(users.change('eve', { grants: at('viewer', 1) }, eve)).rejects.toMatchObject({ code: 'OWN_ROLES' })
    expect((await users.get('eve', LOCAL_CALLER))?.grants).toEqual(at('admin', 1))
  })

  test('who becomes an administrator of everything is told of', async () => {
    await one.identity.users.create({ id: 'bob', grants: [] }, LOCAL_CALLER)
    expect(one.events).toEqual([])
    await one.identity.users.grant('bob', { give: [EVERYTHING], take: [] }, callerWith('root', [EVERYTHING]))
    await one.identity.users.change('bob', { name: 'Bob' }, LOCAL_CALLER)
    expect(one.events).toMatchObject([
      { kind: 'administrator-made', subject: 'bob', detail: expect.stringContaining('root') },
    ])
  })

  test('a link lets its user choose a password once, which ends all other logins', async () => {
    const { users, passwordLogins } = one.identity
    await one.addUser('ann', at('viewer', 1))
    const open = await one.logIn('ann')
    const before = await users.passwordLink('ann', LOCAL_CALLER)
    const link = await users.passwordLink('ann', LOCAL_CALLER)
    const invalid = { refusal: 'UNAUTHENTICATED', code: 'LINK_INVALID' }
    const choose = (core: IdentityCore, token = '', password = 'another good one') =>
      core.identity.passwordLogins.choose(token, password, CLIENT.address)
    await expect(choose(one, before?.token)).rejects.toMatchObject(invalid)
    // What is not good enough leaves the link as it is.
    await expect(choose(one, link?.token, 'short')).rejects.toMatchObject({ code: 'REGISTRATION_INVALID' })
    const uses = await Promise.allSettled([one, other, one, other].map((core) => choose(core, link?.token)))
    expect(uses.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected', 'rejected', 'rejected'])
    await expect(choose(one, link?.token)).rejects.toMatchObject(invalid)
    expect(one.events.map(({ kind }) => kind)).toContain('link-refused')
    await expect(one.logIn('ann', PASSWORD)).rejects.toMatchObject({ code: 'LOGIN_FAILED' })
    await expect(one.identity.authenticate(open.accessToken)).rejects.toMatchObject({ code: 'LOGIN_ENDED' })
    // With the password before: the other logins end, this one goes on.
    const own = await one.logIn('ann', 'another good one')
    const elsewhere = await one.logIn('ann', 'another good one')
    const ann = await one.identity.authenticate(own.accessToken)
    await expect(passwordLogins.change(ann, 'wrong', 'a third good one', CLIENT.address)).rejects.toMatchObject({
      refusal: 'FORBIDDEN',
      code: 'PASSWORD_WRONG',
    })
    await passwordLogins.change(ann, 'another good one', 'a third good one', CLIENT.address)
    await expect(one.identity.authenticate(own.accessToken)).resolves.toBeDefined()
    await expect(one.identity.authenticate(elsewhere.accessToken)).rejects.toMatchObject({ code: 'LOGIN_ENDED' })
    await expect(one.logIn('ann', 'a third good one')).resolves.toBeDefined()
  })

  test('of a user who is disabled no link is made, and the one there was is void', async () => {
    const { users } = one.identity
    await users.create({ id: 'ann', grants: [] }, LOCAL_CALLER)
    const link = await users.passwordLink('ann', LOCAL_CALLER)
    await users.change('ann', { status: 'disabled' }, LOCAL_CALLER)
    await expect(users.passwordLink('ann', LOCAL_CALLER)).rejects.toMatchObject({ code: 'USER_DISABLED' })
    await users.change('ann', { status: 'active' }, LOCAL_CALLER)
    const chosen = one.identity.passwordLogins.choose(link?.token ?? '', 'correct horse battery', CLIENT.address)
    await expect(chosen).rejects.toMatchObject({ code: 'LINK_INVALID' })
  })

  test('no link is made to a password beside the identity provider', async () => {
    const { users } = one.identity
    await one.addUser('ann', at('viewer', 1), null)
    await one.database.kysely.updateTable('users').set({ oidc_subject: 'https://idp.example 7' }).execute()
    await expect(users.passwordLink('ann', LOCAL_CALLER)).rejects.toMatchObject({ code: 'USER_OF_PROVIDER' })
  })

  test('who is disabled is so at once for the API keys they made, on the core that was told', async () => {
    const { database } = one
    const common = { database, clock: systemClock, random: systemRandom, log: silentLogger }
    const events = { note: () => undefined }
    const apiKeys = new ApiKeys({ ...common, events, recheckMs: 60_000, tags: () => new Set(['sites']) })
    const { identity } = identityCore(database, { apiKeys })
    await one.addUser('ann', at('viewer', 1), null)
    const wanted = { name: 'k', scopes: ['sites:read'], grants: at('viewer', 1), expiresAtMs: null }
    const { text } = await apiKeys.create(wanted, callerWith('ann', at('viewer', 1)))
    await expect(identity.authenticate(text)).resolves.toMatchObject({ kind: 'api-key' })
    await identity.users.change('ann', { status: 'disabled' }, LOCAL_CALLER)
    await expect(identity.authenticate(text)).rejects.toMatchObject({ refusal: 'UNAUTHENTICATED' })
  })

  test('a link is good while who made it administers its user', async () => {
    const { users, passwordLogins } = one.identity
    await one.addUser('eve', at('admin', 1))
    await users.create({ id: 'ann', grants: at('viewer', 1) }, LOCAL_CALLER)
    const eve = callerWith('eve', at('admin', 1))
    const link = await users.passwordLink('ann', eve)
    const choose = () => other.identity.passwordLogins.choose(link?.token ?? '', PASSWORD, CLIENT.address)
    const invalid = { refusal: 'UNAUTHENTICATED', code: 'LINK_INVALID' }
    await users.grant('ann', { give: at('viewer', 2), take: [] }, LOCAL_CALLER)
    await expect(choose()).rejects.toMatchObject(invalid)
    await users.grant('ann', { give: [], take: at('viewer', 2) }, LOCAL_CALLER)
    await users.change('eve', { status: 'disabled' }, LOCAL_CALLER)
    await expect(choose()).rejects.toMatchObject(invalid)
    await users.change('eve', { status: 'active' }, LOCAL_CALLER)
    await expect(choose()).resolves.toBe('ann')
    await expect(passwordLogins.login('ann', PASSWORD, CLIENT)).resolves.toBeDefined()
  })

  test('no program becomes a person by a link', async () => {
    await one.addUser('ann', at('viewer', 1), null)
    const who = { kind: 'api-key', id: 'api-key:0f1e2d3c4b5a6978', credentialId: 'x', scopes: new Set(['users:write']) }
    const program = callerOf(who as Parameters<typeof callerOf>[0], [EVERYTHING])
    for (const id of ['ann', 'nobody']) {
      await expect(one.identity.users.passwordLink(id, program)).rejects.toMatchObject({
        refusal: 'FORBIDDEN',
        code: 'PERSON_REQUIRED',
      })
    }
  })

  test('a password that is replaced while it is looked at opens nothing, and replaces nothing', async () => {
    const { users } = one.identity
    await one.addUser('ann', at('viewer', 1))
    const thief = await one.identity.authenticate((await one.logIn('ann')).accessToken)
    let meanwhile = async () => {}
    class Interrupted extends Passwords {
      override async verify(password: string, hash: string | null): Promise<boolean> {
        const matches = await super.verify(password, hash)
        await meanwhile()
        return matches
      }
    }
    const slow = slowLogins(one, new Interrupted(IDENTITY_SETTINGS))
    const replacing = (password: string) => async () => {
      const link = await users.passwordLink('ann', LOCAL_CALLER)
      await other.identity.passwordLogins.choose(link?.token ?? '', password, CLIENT.address)
    }
    meanwhile = replacing('another good one')
    await expect(slow.login('ann', PASSWORD, CLIENT)).rejects.toMatchObject({ code: 'LOGIN_FAILED' })
    meanwhile = replacing('a third good one')
    const change = slow.change(thief, 'another good one', 'what the thief likes', CLIENT.address)
    await expect(change).rejects.toMatchObject({ code: 'PASSWORD_WRONG' })
    await expect(one.logIn('ann', 'a third good one')).resolves.toBeDefined()
  })

  test('a password hashed with older settings is hashed anew when it is next used', async () => {
    await one.addUser('ann')
    const stronger = identityCore(one.database, { settings: { passwordMemoryKiB: 128 } })
    await stronger.logIn('ann')
    const { password_hash } = await one.database.kysely.selectFrom('users').selectAll().executeTakeFirstOrThrow()
    expect(password_hash).toContain('$m=128,')
    await expect(stronger.logIn('ann')).resolves.toBeDefined()
  })
})
