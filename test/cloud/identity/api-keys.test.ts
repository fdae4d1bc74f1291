import { expect, it } from 'vitest'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import {
  ApiKeys,
  type Caller,
  callerOf,
  type Grant,
  LOCAL_CALLER,
  type NewApiKey,
} from '../../../cloud/identity/identity.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const TAGS = new Set(['telemetry', 'sites'])
const WANTED: NewApiKey = {
  name: 'billing',
  scopes: ['telemetry:read'],
  grants: [{ role: 'viewer', siteId: 1 }],
  expiresAtMs: null,
}

await describeOnEveryDatabase('API keys', (database) => {
  const clock = new ManualClock()
  const noted: string[] = []
  const core = (handle: DatabaseHandle) =>
    new ApiKeys({
      database: handle,
      clock,
      random: systemRandom,
      log: silentLogger,
      events: { note: ({ kind, subject }) => void noted.push(`${kind} ${subject}`) },
      recheckMs: 5_000,
      tags: () => TAGS,
    })
  const person = async (handle: DatabaseHandle, id: string, grants: readonly Grant[]): Promise<Caller> => {
    const row = { id, name: null, email: null, password_hash: null, status: 'active', oidc_subject: null }
    await handle.kysely
      .insertInto('users')
      .values({ ...row, created_at_ms: 0, updated_at_ms: 0, last_login_at_ms: null })
      .execute()
    const rows = grants.map(({ role, siteId }) => ({ user_id: id, role, site_id: siteId === 'all' ? 0 : siteId }))
    await handle.kysely.insertInto('user_grants').values(rows).execute()
    return callerOf({ kind: 'user', id, credentialId: `login-of-${id}`, scopes: null }, grants)
  }
  const open = async () => {
    const handle = await database.open()
    const engineer = await person(handle, 'ann', [{ role: 'engineer', siteId: 1 }])
    return { handle, keys: core(handle), engineer }
  }
  const refused = (promise: Promise<unknown>, code: string) => expect(promise).rejects.toMatchObject({ code })

  it('lets in whoever shows one, with its scopes and rights, and shows it once', async () => {
    const { handle, keys, engineer } = await open()
    const { key, text } = await keys.create(WANTED, engineer)
    expect(text).toMatch(/^bbk_[0-9a-f]{16}_[\w-]{43}$/)
    const caller = await keys.authenticate(text)
    expect(caller).toMatchObject({ kind: 'api-key', id: `api-key:${key.id}`, credentialId: key.id })
    expect([...(caller.scopes ?? [])]).toEqual(['telemetry:read'])
    expect(caller.sites('viewer')).toEqual(new Set([1]))
    expect(caller.sites('operator')).toEqual(new Set())

    const secret = text.slice(-43)
    const stored = await handle.kysely.selectFrom('api_keys').selectAll().execute()
    expect(JSON.stringify([stored, await keys.list({}, engineer)])).not.toContain(secret)
  })

  it('leaves keys to make for others, however many one person makes', async () => {
    const { handle, keys, engineer } = await open()
    const bob = await person(handle, 'bob', [{ role: 'engineer', siteId: 1 }])
    const key = { scopes: '[]', created_by: 'ann', created_at_ms: 0, expires_at_ms: null, last_used_at_ms: null }
    const rows = Array.from({ length: 100 }, (_, i) => {
      return { ...key, id: `${i}`, name: 'many', secret_hash: `${i}`, revoked_at_ms: i === 0 ? clock.wallMs() : null }
    })
    await handle.kysely.insertInto('api_keys').values(rows).execute()
    await keys.create(WANTED, engineer)
    await refused(keys.create(WANTED, engineer), 'API_KEYS_LIMIT')
    await expect(keys.create(WANTED, bob)).resolves.toBeDefined()
  })

  it('refuses made-up, altered, foreign and malformed ones alike', async () => {
    const { keys, engineer } = await open()
    const { text } = await keys.create(WANTED, engineer)
    const other = await keys.create(WANTED, engineer)
    const swapped = `${text.slice(0, 20)}${other.text.slice(20)}`
    const made = `bbk_${'0'.repeat(16)}_${text.slice(-43)}`
    for (const wrong of [null, '', 'bbk_', swapped, made, `${text}x`, text.toUpperCase(), text.slice(0, -1)])
      await refused(keys.authenticate(wrong), 'API_KEY_UNKNOWN')
    expect(noted).toContain(`api-key-refused ${text.slice(4, 20)}`)
  })

  it('gives nobody more than who makes it has, and names what is missing', async () => {
    const { keys, engineer } = await open()
    const grants: Grant[] = [
      { role: 'operator', siteId: 1 },
      { role: 'operator', siteId: 2 },
      { role: 'auditor', siteId: 1 },
      { role: 'viewer', siteId: 'all' },
    ]
    const beyond = keys.create({ ...WANTED, grants }, engineer)
    await expect(beyond).rejects.toMatchObject({ code: 'ROLE_MISSING' })
    await expect(beyond).rejects.toThrow('you lack operator@2, auditor@1, viewer.')
    const scopes = ['telemetry:read', 'telemetry:*', 'nothing:read', '*:write']
    const unknown = keys.create({ ...WANTED, scopes, expiresAtMs: clock.wallMs() }, engineer)
    await expect(unknown).rejects.toMatchObject({
      fields: [
        { value: 'telemetry:*', remedy: expect.stringContaining('*, sites, telemetry') },
        { value: 'nothing:read' },
        { field: 'expiresAt' },
      ],
    })
  })

  it('is made by people only: a key could outlive its own end through another', async () => {
    const { keys, engineer } = await open()
    const { text } = await keys.create({ ...WANTED, scopes: ['*:write'] }, engineer)
    await refused(keys.create(WANTED, await keys.authenticate(text)), 'PERSON_REQUIRED')
    await refused(keys.create(WANTED, LOCAL_CALLER), 'PERSON_REQUIRED')
  })

  it('loses what its maker loses, on every core within recheckMs', async () => {
    const { handle, keys } = await open()
    const admin = await person(handle, 'bob', [{ role: 'admin', siteId: 'all' }])
    const wide: Grant[] = [{ role: 'engineer', siteId: 'all' }]
    const { text } = await keys.create({ ...WANTED, grants: wide }, admin)
    const before = await keys.authenticate(text)
    expect(before.sites('engineer')).toBe('all')

    const bobs = handle.kysely.updateTable('user_grants').where('user_id', '=', 'bob')
    await bobs.set({ role: 'operator', site_id: 7 } as never).execute()
    expect((await keys.authenticate(text)).sites('engineer')).toBe('all')
    clock.advance(5_001)
    const after = await keys.authenticate(text)
    expect(after.sites('engineer')).toEqual(new Set())
    expect(after.sites('operator')).toEqual(new Set([7]))
    expect(after.version).not.toBe(before.version)
    expect((await keys.recheck([before])).get(before.credentialId ?? '')?.version).toBe(after.version)

    await handle.kysely.updateTable('users').set({ status: 'disabled' }).where('id', '=', 'bob').execute()
    clock.advance(5_001)
    await refused(keys.authenticate(text), 'API_KEY_MAKER_DISABLED')
    expect(await keys.recheck([before])).toEqual(new Map())
  })

  it('ends when it is revoked: here at once, on another core within recheckMs, and for open sockets', async () => {
    const { handle, keys, engineer } = await open()
    const elsewhere = core(handle)
    const { key, text } = await keys.create(WANTED, engineer)
    const caller = await elsewhere.authenticate(text)
    await keys.authenticate(text)
    clock.advance(10)
    const revoked = await keys.revoke(key.id, engineer)
    expect(revoked?.revokedAtMs).toBe(clock.wallMs())
    await refused(keys.authenticate(text), 'API_KEY_REVOKED')
    expect(await elsewhere.recheck([caller])).toEqual(new Map())
    clock.advance(5_001)
    await refused(elsewhere.authenticate(text), 'API_KEY_REVOKED')
    expect(await keys.revoke(key.id, engineer)).toEqual(revoked)
  })

  it('ends by itself at its time, also while it is remembered', async () => {
    const { keys, engineer } = await open()
    const { text } = await keys.create({ ...WANTED, expiresAtMs: clock.wallMs() + 1_000 }, engineer)
    await keys.authenticate(text)
    clock.advance(1_000)
    await refused(keys.authenticate(text), 'API_KEY_EXPIRED')
  })

  it('notes its last use once a minute, whichever core sees it', async () => {
    const { handle, keys, engineer } = await open()
    const elsewhere = core(handle)
    const { key, text } = await keys.create(WANTED, engineer)
    const lastUse = async () => (await keys.get(key.id, engineer))?.lastUsedAtMs
    const firstMs = clock.wallMs()
    await keys.authenticate(text)
    expect(await lastUse()).toBe(firstMs)
    for (let i = 0; i < 5; i++) {
      clock.advance(10_000)
      await Promise.all([keys.authenticate(text), elsewhere.authenticate(text)])
    }
    expect(await lastUse()).toBe(firstMs)
    clock.advance(10_001)
    await Promise.all([keys.authenticate(text), elsewhere.authenticate(text)])
    expect(await lastUse()).toBe(clock.wallMs())
  })

  it('is seen and revoked by who made it and by administrators of all its sites, and by nobody else', async () => {
    const { handle, keys, engineer } = await open()
    const all = await person(handle, 'root', [{ role: 'admin', siteId: 'all' }])
    const admin2 = await person(handle, 'two', [{ role: 'admin', siteId: 2 }])
    const auditor1 = await person(handle, 'aud', [{ role: 'auditor', siteId: 1 }])
    const at1 = (await keys.create(WANTED, engineer)).key
    clock.advance(1)
    const at2 = (await keys.create({ ...WANTED, grants: [{ role: 'viewer', siteId: 2 }] }, all)).key
    clock.advance(1)
    const wide = (await keys.create({ ...WANTED, grants: [{ role: 'viewer', siteId: 'all' }] }, all)).key
    const seenBy = async (caller: Caller) => (await keys.list({}, caller)).items.map(({ id }) => id)
    expect(await seenBy(all)).toEqual([wide.id, at2.id, at1.id])
    expect(await seenBy(engineer)).toEqual([at1.id])
    expect(await seenBy(admin2)).toEqual([at2.id])
    expect(await seenBy(auditor1)).toEqual([at1.id])
    expect(await keys.get(wide.id, admin2)).toBeNull()
    expect(await keys.revoke(wide.id, engineer)).toBeNull()
    expect(await keys.revoke('no such', all)).toBeNull()
    await refused(keys.revoke(at1.id, auditor1), 'ROLE_MISSING')
    expect(await keys.revoke(at1.id, all)).toMatchObject({ id: at1.id })

    const first = await keys.list({ limit: 2 }, all)
    expect((await keys.list({ limit: 2, cursor: first.next ?? '' }, all)).items).toMatchObject([{ id: at1.id }])
  })
})
