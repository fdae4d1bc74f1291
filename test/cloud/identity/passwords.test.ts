import { expect, test } from 'vitest'
import { Passwords } from '../../../cloud/identity/passwords.ts'

const SETTINGS = { passwordLengthMin: 12, passwordMemoryKiB: 64, passwordChecksMax: 2 }

test('a password is hashed with argon2id as the settings say', async () => {
  const passwords = new Passwords(SETTINGS)
  const hash = await passwords.hash('correct horse battery')
  expect(hash).toMatch(/^\$argon2id\$v=19\$m=64,t=2,p=1\$/)
  expect(passwords.isOutdated(hash)).toBe(false)
  expect(new Passwords({ ...SETTINGS, passwordMemoryKiB: 128 }).isOutdated(hash)).toBe(true)
  expect(await passwords.verify('correct horse battery', hash)).toBe(true)
  expect(await passwords.verify('correct horse batterx', hash)).toBe(false)
  expect(await passwords.verify('correct horse battery', null)).toBe(false)
  expect(await passwords.verify('x'.repeat(1_000_000), hash)).toBe(false)
})

test('the same letters typed another way are the same password', async () => {
  const passwords = new Passwords(SETTINGS)
  const hash = await passwords.hash('Zu\u0308rich im Regen')
  expect(await passwords.verify('Z\u00fcrich im Regen', hash)).toBe(true)
})

test('what is too short, too long, or guessed first is refused, and not repeated', () => {
  const passwords = new Passwords(SETTINGS)
  for (const password of [
    'short',
    '',
    'x'.repeat(20),
    'äöü'.repeat(200),
    'ANN@EXAMPLE.ORG',
    `${'ab'.repeat(10)}\ud800`,
  ]) {
    let refused: unknown
    try {
      passwords.checkNew(password, 'ann@example.org')
    } catch (error) {
      refused = error
    }
    expect(refused, password).toMatchObject({ code: 'REGISTRATION_INVALID' })
    const said = `${String(refused)} ${JSON.stringify(refused)}`
    if (password.length > 3) expect(said).not.toContain(password)
  }
  passwords.checkNew('twelve chars', 'ann@example.org')
  passwords.checkNew(`${'é'.repeat(11)}x`, 'ann')
})

test('only so many are checked at one time, so many wait, and the rest is told to come back', async () => {
  const passwords = new Passwords(SETTINGS)
  const hash = await passwords.hash('correct horse battery')
  const checks = Array.from({ length: 30 }, () => passwords.verify('correct horse battery', hash))
  const outcomes = await Promise.allSettled(checks)
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(22)
  const [refused] = outcomes.filter(({ status }) => status === 'rejected')
  expect(refused).toMatchObject({ reason: { refusal: 'TOO_MANY_REQUESTS', retryAfter: 1 } })
  // All places are free again.
  expect(await passwords.verify('correct horse battery', hash)).toBe(true)
})

test('a user who does not exist costs as much as a wrong password', async () => {
  const passwords = new Passwords({ ...SETTINGS, passwordMemoryKiB: 4_096 })
  const hash = await passwords.hash('correct horse battery')
  await passwords.verify('warm', null)
  const median = async (check: () => Promise<boolean>) => {
    const times: number[] = []
    for (let i = 0; i < 15; i++) {
      const startedAt = performance.now()
      expect(await check()).toBe(false)
      times.push(performance.now() - startedAt)
    }
    return times.toSorted((a, b) => a - b)[7] as number
  }
  const wrong = await median(() => passwords.verify('wrong horse battery', hash))
  const nobody = await median(() => passwords.verify('wrong horse battery', null))
  // Without the work on a stand-in it would be a hundredth.
  expect(nobody).toBeGreaterThan(wrong / 4)
})
