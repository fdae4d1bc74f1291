import { describe, expect, test } from 'vitest'
import { addressKey } from '../../../edge/broker/addresses.ts'
import { BrokerCounters } from '../../../edge/broker/counters.ts'
import { Gate, type Visit } from '../../../edge/broker/gate.ts'
import { LimitedLog } from '../../../edge/broker/limited-log.ts'
import { BROKER_LIMITS, type BrokerLimits } from '../../../edge/broker/limits.ts'
import { Lockouts } from '../../../edge/broker/lockouts.ts'
import { silentLogger } from '../../../shared/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const HERE = '10.0.0.1'
const THERE = '10.0.0.2'

function newGate(limits: Partial<BrokerLimits> = {}) {
  const clock = new ManualClock()
  const counters = new BrokerCounters()
  const warnings = new LimitedLog(clock, silentLogger)
  const gate = new Gate({ limits: { ...BROKER_LIMITS, ...limits }, clock, counters, warnings })
  const cut: string[] = []
  /** One that tells by `cut` when it had to make room. */
  const arrive = (address: string, name = ''): Visit | null => gate.arrive(address, () => cut.push(name))
  return { gate, clock, counters, cut, arrive }
}

describe('half-open connections', () => {
  test('beyond the limit cut the oldest, so that a new one always gets in', () => {
    const { gate, counters, cut, arrive } = newGate({ halfOpenMax: 3 })
    for (const name of ['a', 'b', 'c']) arrive('127.0.0.1', name)
    expect(arrive('127.0.0.1', 'device')).not.toBeNull()
    arrive('127.0.0.1', 'e')
    expect(cut).toEqual(['a', 'b'])
    expect(gate.halfOpenCount).toBe(3)
    expect(counters.refused['half-open']).toBe(2)
  })

  test('that log in or leave are no longer counted, and never cut', () => {
    const { gate, cut, arrive } = newGate({ halfOpenMax: 1 })
    arrive('127.0.0.1', 'a')?.known()
    arrive('127.0.0.1', 'b')?.left()
    arrive('127.0.0.1', 'c')
    expect(cut).toEqual([])
    expect(gate.halfOpenCount).toBe(1)
  })

  test('make room at the limit of all connections; those that are logged in do not', () => {
    const { counters, cut, arrive } = newGate({ connectionsMax: 2 })
    arrive('127.0.0.1', 'a')?.known()
    arrive('127.0.0.1', 'b')
    const third = arrive('127.0.0.1', 'c')
    expect(cut).toEqual(['b'])
    third?.known()
    expect(arrive('127.0.0.1', 'd')).toBeNull()
    expect(counters.refused['too-many-connections']).toBe(1)
    third?.left()
    third?.left()
    expect(arrive('127.0.0.1', 'e')).not.toBeNull()
    expect(arrive('127.0.0.1', 'f')).not.toBeNull()
    expect(cut).toEqual(['b', 'e'])
  })
})

describe('an address', () => {
  test('has so many connections and no more; another one has its own', () => {
    const { counters, arrive } = newGate({ connectionsPerAddressMax: 2 })
    const first = arrive(HERE)
    arrive(`::ffff:${HERE}`)
    expect(arrive(HERE)).toBeNull()
    expect(counters.refused['address-connections']).toBe(1)
    expect(arrive(THERE)).not.toBeNull()
    first?.left()
    expect(arrive(HERE)).not.toBeNull()
  })

  test('may stand for a fleet of two thousand, also when the network cut all of them in silence', () => {
    const { clock, arrive } = newGate()
    const insideInAMinute = (): number => {
      let inside = 0
      for (let second = 0; second < 60 && inside < 2000; second++, clock.advance(1000)) {
        for (let visit = arrive(HERE); visit !== null && inside < 2000; visit = arrive(HERE)) {
          visit.known()
          inside++
        }
      }
      return inside
    }
    expect(insideInAMinute()).toBe(2000)
    expect(insideInAMinute()).toBe(2000)
  })

  test('connects so fast and no faster', () => {
    const { clock, counters, arrive } = newGate({ connectRateMax: 1 })
    for (let i = 0; i < 10; i++) expect(arrive(HERE)).not.toBeNull()
    expect(arrive(HERE)).toBeNull()
    expect(counters.refused['connect-rate']).toBe(1)
    clock.advance(1000)
    expect(arrive(HERE)).not.toBeNull()
    expect(arrive(HERE)).toBeNull()
  })

  test('of this machine is not limited', () => {
    const { arrive } = newGate({ connectionsPerAddressMax: 1, connectRateMax: 1 })
    for (const address of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) {
      for (let i = 0; i < 20; i++) expect(arrive(address)).not.toBeNull()
    }
  })

  test.each([
    ['127.0.0.5', null],
    ['::1', null],
    ['::ffff:127.0.0.1', null],
    ['::FFFF:10.0.0.1', '10.0.0.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::9', '2001:db8:1:2::/64'],
    ['2001:db8::9', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    [undefined, 'unknown'],
  ])('%s counts as %s', (address, key) => {
    expect(addressKey(address)).toBe(key)
  })

  test('is forgotten when there are too many, unless it has connections', () => {
    const { arrive } = newGate({ addressesMax: 2, connectionsPerAddressMax: 1 })
    arrive(HERE)
    for (let i = 1; i < 100; i++) arrive(`10.1.0.${i}`)?.left()
    expect(arrive(HERE)).toBeNull()
  })
})

describe('a lockout', () => {
  const limits = { loginFailuresMax: 3, loginFailuresPerAddressMax: 6, lockoutMs: 1000, lockoutMaxMs: 3000 }

  test('is of a username at an address, and of nobody else there', () => {
    const { gate, counters } = newGate(limits)
    for (let i = 0; i < 3; i++) gate.loginFailed(HERE, 'INV-001')
    expect(gate.isLocked(HERE, 'INV-001')).toBe(true)
    expect(gate.isLocked(HERE, 'INV-002')).toBe(false)
    expect(gate.isLocked(THERE, 'INV-001')).toBe(false)
    expect(counters.lockouts).toBe(1)
  })

  test('is of the whole address after more failures, and then nobody gets in from there', () => {
    const { gate, counters, clock, arrive } = newGate(limits)
    for (let i = 0; i < 6; i++) gate.loginFailed(HERE, `guess-${i}`)
    expect(arrive(HERE)).toBeNull()
    expect(gate.isLocked(HERE, 'INV-001')).toBe(true)
    expect(arrive(THERE)).not.toBeNull()
    expect(counters.refused['locked-out']).toBe(1)
    clock.advance(1000)
    expect(arrive(HERE)).not.toBeNull()
  })

  test('is not of an address that others are logged in from, whatever a few devices there have for passwords', () => {
    const { gate, counters, arrive } = newGate()
    const healthy = arrive(HERE)
    healthy?.known()
    const failing = (): void => {
      for (let i = 0; i < 200; i++) gate.loginFailed(HERE, `INV-${i % 20}`)
    }
    failing()
    expect(gate.isLocked(HERE, 'INV-7')).toBe(true)
    expect(gate.isLocked(HERE, 'INV-100')).toBe(false)
    expect(arrive(HERE)).not.toBeNull()
    expect(counters.lockouts).toBe(20)
    healthy?.left()
    failing()
    expect(arrive(HERE)).toBeNull()
  })

  test('is never of all that this machine runs', () => {
    const { gate, arrive } = newGate(limits)
    for (let i = 0; i < 50; i++) gate.loginFailed('127.0.0.1', `guess-${i % 10}`)
    expect(gate.isLocked('127.0.0.1', 'guess-1')).toBe(true)
    expect(gate.isLocked('127.0.0.1', 'INV-001')).toBe(false)
    expect(arrive('127.0.0.1')).not.toBeNull()
  })

  test('doubles up to its limit, and is short again after a quiet time', () => {
    const clock = new ManualClock()
    const lockouts = new Lockouts({ failuresMax: 2, lockoutMs: 1000, lockoutMaxMs: 3000, keysMax: 10 })
    const lockedFor = (): number => {
      while (!lockouts.failed('x', clock.monotonicMs()));
      const since = clock.monotonicMs()
      while (lockouts.isLocked('x', clock.monotonicMs())) clock.advance(100)
      return clock.monotonicMs() - since
    }
    expect([lockedFor(), lockedFor(), lockedFor(), lockedFor()]).toEqual([1000, 2000, 3000, 3000])
    clock.advance(700_000)
    expect(lockedFor()).toBe(1000)
  })

  test('is not for those who fail once in a while', () => {
    const { gate, clock, counters } = newGate(limits)
    for (let i = 0; i < 50; i++) {
      gate.loginFailed(HERE, 'INV-001')
      clock.advance(250_000)
    }
    expect(counters.lockouts).toBe(0)
  })

  test('is not for who gets in now and then, and ends when someone changes the logins', () => {
    const { gate } = newGate(limits)
    for (let i = 0; i < 5; i++) {
      gate.loginFailed(HERE, 'INV-001')
      gate.loginSucceeded(HERE, 'INV-001')
    }
    expect(gate.isLocked(HERE, 'INV-001')).toBe(false)
    for (let i = 0; i < 3; i++) gate.loginFailed(HERE, 'INV-001')
    expect(gate.isLocked(HERE, 'INV-001')).toBe(true)
    gate.forgetFailures()
    expect(gate.isLocked(HERE, 'INV-001')).toBe(false)
  })

  test('remembers so many names and no more', () => {
    const lockouts = new Lockouts({ failuresMax: 2, lockoutMs: 1000, lockoutMaxMs: 3000, keysMax: 100 })
    for (let i = 0; i < 1000; i++) lockouts.failed(`name-${i}`, i)
    expect(lockouts.size).toBe(100)
  })
})
