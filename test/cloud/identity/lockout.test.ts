import { describe, expect, test } from 'vitest'
import type { IdentityError } from '../../../cloud/identity/identity.ts'
import { addressSubject, afterFailure, type Failures, remainingLockMs } from '../../../cloud/identity/lockout.ts'
import { MINUTE_MS } from '../../../shared/durations.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { CLIENT, identityCore, PASSWORD } from '../../support/identity-core.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const POLICY = { failuresMax: 3, lockoutMs: 60_000, lockoutMaxMs: 600_000, forgetMs: 600_000 }

describe('a lockout', () => {
  test('begins at the limit, doubles with each further failure, and stays below its maximum', () => {
    let known: Failures | null = null
    const lasted: number[] = []
    let nowMs = 1_000_000
    for (let i = 0; i < 9; i++) {
      known = afterFailure(known, nowMs, POLICY)
      lasted.push(remainingLockMs(known, nowMs, POLICY) / 60_000)
      nowMs = Math.max(nowMs + 1, known.lockedUntilMs)
    }
    // After ten minutes one failure has been forgotten, and the next makes up for it.
    expect(lasted).toEqual([0, 0, 1, 2, 4, 8, 10, 10, 10])
  })

  test('is forgotten step by step when nothing fails', () => {
    const known = { failures: 2, failedAtMs: 0, lockedUntilMs: 0 }
    expect(afterFailure(known, 599_999, POLICY).failures).toBe(3)
    expect(afterFailure(known, 600_000, POLICY).failures).toBe(2)
    expect(afterFailure(known, 6_000_000, POLICY).failures).toBe(1)
  })

  test('does not last for years because a clock was wrong', () => {
    const known = { failures: 3, failedAtMs: 9e12, lockedUntilMs: 9e12 + 60_000 }
    expect(remainingLockMs(known, 1_000_000, POLICY)).toBe(0)
    expect(afterFailure(known, 1_000_000, POLICY).lockedUntilMs).toBe(1_000_000 + 120_000)
  })

  test.each([
    ['192.0.2.7', 'address:192.0.2.7'],
    ['::ffff:192.0.2.7', 'address:192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', 'address:2001:db8:1:2::/64'],
    ['2001:DB8:1:2::9', 'address:2001:db8:1:2::/64'],
    ['2001:db8::1', 'address:2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'address:fe80:0:0:0::/64'],
    ['::1', 'address:0:0:0:0::/64'],
    ['', 'address:'],
  ])('counts the address %s as %s', (address, subject) => {
    expect(addressSubject(address)).toBe(subject)
  })
})

await describeOnEveryDatabase('lockout', (databases) => {
  async function twoCores() {
    const clock = new ManualClock()
    const url = await databases.freshUrl()
    const one = identityCore(await databases.open({ url }), { clock })
    const other = identityCore(await databases.open({ url }), { clock })
    await one.addUser('ann')
    return { clock, one, other }
  }
  const LOCKED = { refusal: 'TOO_MANY_REQUESTS', code: 'LOCKED_OUT', message: 'There were too many failed attempts.' }

  test('wrong passwords on whatever core lock a user out; whoever is logged in goes on', async () => {
    const { clock, one, other } = await twoCores()
    const open = await one.logIn('ann')
    for (let i = 0; i < 5; i++) {
      const core = i % 2 === 0 ? one : other
      await expect(core.logIn('ann', 'wrong')).rejects.toMatchObject({ code: 'LOGIN_FAILED' })
    }
    await expect(other.logIn('ann', PASSWORD)).rejects.toMatchObject({ ...LOCKED, retryAfter: 60 })
    await expect(one.logIn('ann', PASSWORD)).rejects.toMatchObject(LOCKED)
    expect(one.events).toMatchObject([{ kind: 'user-locked-out', subject: 'ann', address: CLIENT.address }])
    expect(one.identity.stats()).toMatchObject({ failures: 3, refused: 1 })
    const going = await other.identity.logins.refresh(open.refreshToken, CLIENT.address)
    await expect(one.identity.authenticate(going.accessToken)).resolves.toMatchObject({ id: 'ann' })
    // What is refused unseen makes it last no longer.
    clock.advance(MINUTE_MS)
    await expect(one.logIn('ann', 'wrong')).rejects.toMatchObject({ code: 'LOGIN_FAILED' })
    await expect(one.logIn('ann', PASSWORD)).rejects.toMatchObject({ ...LOCKED, retryAfter: 120 })
    clock.advance(2 * MINUTE_MS)
    await expect(other.logIn('ann', PASSWORD)).resolves.toBeDefined()
    for (let i = 0; i < 4; i++) await expect(one.logIn('ann', 'wrong')).rejects.toMatchObject({ code: 'LOGIN_FAILED' })
    await expect(one.logIn('ann', PASSWORD)).resolves.toBeDefined()
  })

  test('the answers are the same whether there is such a user, one without a password, or none', async () => {
    const { one } = await twoCores()
    await one.addUser('without', [], null)
    const answers = async (userId: string) => {
      const seen: unknown[] = []
      for (let i = 0; i < 7; i++) {
        const error: unknown = await one.logIn(userId, 'wrong').catch((refused: unknown) => refused)
        const { message, code, hint, retryAfter } = error as IdentityError
        seen.push({ message, code, hint, retryAfter })
      }
      return seen
    }
    const ann = await answers('ann')
    expect(await answers('nobody')).toEqual(ann)
    expect(await answers('without')).toEqual(ann)
    expect(ann.at(-1)).toMatchObject({ code: 'LOCKED_OUT', retryAfter: 60 })
  })

  test('a hundred guesses at once are looked at no more often than one after the other', async () => {
    const { one, other } = await twoCores()
    const guesses = Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? one : other).logIn('ann', `guess ${i}`))
    const codes = (await Promise.allSettled(guesses)).map((outcome) => {
      return outcome.status === 'rejected' ? (outcome.reason as { code: string }).code : 'LET IN'
    })
    expect(codes.filter((code) => code === 'LOGIN_FAILED').length).toBeLessThanOrEqual(5)
    expect(codes).not.toContain('LET IN')
    await expect(one.logIn('ann', PASSWORD)).rejects.toMatchObject(LOCKED)
  })

  test('one address that tries many users is slowed down, and others are not', async () => {
    const { clock, one } = await twoCores()
    const attacker = { address: '2001:db8::1', userAgent: null }
    for (let i = 0; i < 50; i++) {
      const from = { ...attacker, address: `2001:db8::${i.toString(16)}` }
      const guess = one.identity.passwordLogins.login(`user-${i}`, 'Summer2026!!', from)
      await expect(guess).rejects.toMatchObject({ code: 'LOGIN_FAILED' })
    }
    const next = one.identity.passwordLogins.login('user-51', 'Summer2026!!', attacker)
    await expect(next).rejects.toMatchObject(LOCKED)
    const counted = await one.database.kysely.selectFrom('login_failures').select('subject').execute()
    expect(counted.map(({ subject }) => subject)).not.toContain('user:user-51')
    expect(one.events).toMatchObject([{ kind: 'address-locked-out', subject: '2001:db8:0:0::/64' }])
    // A login that he has himself does not free him, nor is he let in.
    await expect(one.identity.passwordLogins.login('ann', PASSWORD, attacker)).rejects.toMatchObject(LOCKED)
    await expect(one.logIn('ann')).resolves.toBeDefined()
    clock.advance(MINUTE_MS)
    // Nor does a right password between the wrong ones.
    await expect(one.identity.passwordLogins.login('ann', PASSWORD, attacker)).resolves.toBeDefined()
    await expect(one.identity.passwordLogins.login('user-52', 'x', attacker)).rejects.toMatchObject({
      code: 'LOGIN_FAILED',
    })
    await expect(one.identity.passwordLogins.login('ann', PASSWORD, attacker)).rejects.toMatchObject(LOCKED)
  })

  test('links are not to be guessed either', async () => {
    const { one } = await twoCores()
    const guess = (i: number) => `bbs_${String(i).padStart(43, 'A')}`
    const user = { userId: 'eve', password: 'correct horse battery' }
    for (let i = 0; i < 25; i++) {
      const setup = one.identity.setup.setUp({ token: guess(i), ...user }, '192.0.2.66')
      await expect(setup).rejects.toMatchObject({ code: 'LINK_INVALID' })
      const choice = one.identity.passwordLogins.choose(guess(i), 'correct horse battery', '192.0.2.66')
      await expect(choice).rejects.toMatchObject({ code: 'LINK_INVALID' })
    }
    await expect(one.identity.setup.setUp({ token: guess(1), ...user }, '192.0.2.66')).rejects.toMatchObject(LOCKED)
    await expect(one.identity.passwordLogins.choose(guess(1), 'x', '192.0.2.66')).rejects.toMatchObject(LOCKED)
  })
})
