import { createHmac } from 'node:crypto'
import { join } from 'node:path'
import { SignJWT } from 'jose'
import { expect, onTestFinished, test } from 'vitest'
import { openDatabase } from '../../../cloud/database/database.ts'
import { AccessTokens } from '../../../cloud/identity/access-token.ts'
import { MasterKey } from '../../../cloud/identity/identity.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { identityCore, MASTER_KEY } from '../../support/identity-core.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { tempDir } from '../../support/temp-dir.ts'

const [KEY] = MASTER_KEY.derive('access-token')

async function loggedIn() {
  const url = `sqlite:${join(await tempDir(), 'busbar.db')}`
  const database = openDatabase({ url, clock: systemClock, log: silentLogger })
  await database.start()
  onTestFinished(() => database.stop())
  const clock = new ManualClock()
  const core = identityCore(database, { clock })
  await core.addUser('ann', [{ role: 'engineer', siteId: 'all' }])
  return { ...core, clock, ...(await core.logIn('ann')) }
}

const json = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const parsed = (part: string | undefined) => JSON.parse(Buffer.from(part ?? '', 'base64url').toString('utf8'))

test('forged access tokens are refused and counted, whatever they say of themselves', async () => {
  const { identity, accessToken, loginId, clock, events } = await loggedIn()
  const [header, payload, signature] = accessToken.split('.')
  const claims = parsed(payload)
  const signed = (changes: object, { alg = 'HS256', kid = KEY.id, key = KEY.secret }: Forgery = {}) =>
    new SignJWT({ ...claims, ...changes }).setProtectedHeader({ alg, kid, typ: 'JWT' }).sign(key)
  interface Forgery {
    readonly alg?: string
    readonly kid?: string
    readonly key?: Uint8Array
  }
  // What is signed with our own key and changes nothing is good, so that each refusal below has the reason it names.
  await expect(identity.authenticate(await signed({}))).resolves.toMatchObject({ id: 'ann' })

  const otherKey = new MasterKey([Buffer.alloc(32, 8)], systemRandom).derive('access-token')[0]
  const otherPurpose = MASTER_KEY.derive('challenge')[0]
  const unsigned = `${json({ alg: 'none', kid: KEY.id })}.${payload}`
  const hmac = (head: object, body: object, hash = 'sha256') => {
    const text = `${json(head)}.${json(body)}`
    return `${text}.${createHmac(hash, KEY.secret).update(text).digest('base64url')}`
  }
  const forgeries: Record<string, string> = {
    'alg none': `${unsigned}.`,
    'alg none with a signature': `${unsigned}.${signature}`,
    'alg None': `${json({ alg: 'None', kid: KEY.id })}.${payload}.`,
    'another algorithm with our key': await signed({}, { alg: 'HS512' }),
    'another key under our kid': await signed({}, { key: otherKey.secret }),
    'another key under its own kid': await signed({}, { key: otherKey.secret, kid: otherKey.id }),
    'our key for another purpose': await signed({}, { key: otherPurpose.secret, kid: otherPurpose.id }),
    'an unknown kid': await signed({}, { kid: '../../etc/passwd' }),
    'no kid': hmac({ alg: 'HS256' }, claims),
    'a key that it brings itself': hmac({ alg: 'HS256', jwk: { kty: 'oct', k: 'AAAA' } }, claims),
    'a critical extension': hmac({ alg: 'HS256', kid: KEY.id, crit: ['x'], x: 1 }, claims),
    'another audience': await signed({ aud: 'busbar-web' }),
    'no audience': await signed({ aud: undefined }),
    'another issuer': await signed({ iss: 'busbar2' }),
    'no end': await signed({ exp: undefined }),
    'no user': await signed({ sub: undefined }),
    'no login': await signed({ sid: undefined }),
    'changed claims under the old signature': `${header}.${json({ ...claims, sub: 'root' })}.${signature}`,
  }
  for (const [what, token] of Object.entries(forgeries)) {
    await expect(identity.authenticate(token), what).rejects.toMatchObject({
      refusal: 'UNAUTHENTICATED',
      code: 'ACCESS_TOKEN_INVALID',
    })
  }
  expect(events.length).toBeGreaterThan(10)
  expect(new Set(events.map(({ kind }) => kind))).toEqual(new Set(['access-token-forged']))

  // Properly signed, and for a user or login that it is not of.
  for (const changes of [{ sub: 'root' }, { sid: '0'.repeat(32) }, { sid: "' or 1=1 --" }, { sid: '\u0001' }]) {
    await expect(identity.authenticate(await signed(changes))).rejects.toMatchObject({ code: 'LOGIN_ENDED' })
  }
  for (const text of ['', 'x', 'a.b', 'a.b.c', '..', 'é.é.é', 'a.b.c.d.e', 'A'.repeat(10_000)]) {
    await expect(identity.authenticate(text), text.slice(0, 20)).rejects.toMatchObject({ refusal: 'UNAUTHENTICATED' })
  }
  await expect(identity.authenticate(null)).rejects.toMatchObject({ code: 'CREDENTIAL_MISSING' })
  // Where there are no API keys one is no token either.
  await expect(identity.authenticate(`bbk_0_${loginId}`)).rejects.toMatchObject({ refusal: 'UNAUTHENTICATED' })

  clock.advance(claims.exp * 1000 - clock.wallMs() + 5_000)
  await expect(identity.authenticate(accessToken)).rejects.toMatchObject({ code: 'ACCESS_TOKEN_EXPIRED' })
})

test('a token says who logged in, and nothing of what they may do', async () => {
  const { accessToken, loginId, clock, expiresAtMs } = await loggedIn()
  const [header, payload] = accessToken.split('.')
  expect(parsed(header)).toEqual({ alg: 'HS256', typ: 'JWT', kid: KEY.id })
  const iat = Math.floor(clock.wallMs() / 1000)
  expect(parsed(payload)).toEqual({
    iss: 'busbar',
    aud: 'busbar-api',
    sub: 'ann',
    sid: loginId,
    iat,
    exp: expiresAtMs / 1000,
  })
})

test('after the master key was changed tokens of the key before are good, and new ones are of the new', async () => {
  const clock = new ManualClock()
  const claims = { userId: 'ann', loginId: '1' }
  const old = new AccessTokens([KEY], clock)
  const both = new MasterKey([Buffer.alloc(32, 8), Buffer.alloc(32, 7)], systemRandom).derive('access-token')
  const now = new AccessTokens(both, clock)
  expect(await now.verify(await old.issue(claims, clock.wallMs() + 10_000))).toEqual(claims)
  const fresh = await now.issue(claims, clock.wallMs() + 10_000)
  expect(await old.verify(fresh)).toBe('forged')
  // Clocks of two cores may differ a little.
  clock.advance(14_000)
  expect(await now.verify(fresh)).toEqual(claims)
  clock.advance(1_000)
  expect(await now.verify(fresh)).toBe('expired')
})

test('a credential that looks like an API key goes to those who know API keys', async () => {
  const { database, clock } = await loggedIn()
  const asked: (string | null)[] = []
  const apiKeys = {
    authenticate: (credential: string | null) => {
      asked.push(credential)
      return Promise.reject(new Error('asked'))
    },
    recheck: () => Promise.resolve(new Map()),
    forgetRights: () => undefined,
  }
  const { identity } = identityCore(database, { clock, apiKeys })
  await expect(identity.authenticate('bbk_1_2')).rejects.toThrow('asked')
  expect(asked).toEqual(['bbk_1_2'])
})
