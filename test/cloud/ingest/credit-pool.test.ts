import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ByteBudget } from '../../../cloud/ingest/byte-budget.ts'
import { type CreditAccount, CreditPool } from '../../../cloud/ingest/credit-pool.ts'

const KIB = 1024
const RULES = {
  windowBytes: 4096 * KIB,
  floorBytes: 64 * KIB,
  inflightBytesMax: 16_384 * KIB,
}

/** A gateway that always sends all it may, and gets it dealt with in turns. */
class GreedyGateway {
  credit = 0
  moved = 0
  inWork = 0
  readonly account: CreditAccount

  constructor(pool: CreditPool) {
    this.account = pool.open((bytes) => {
      this.credit += bytes
    })
    this.credit = this.account.available
  }

  send(bytes = this.credit): void {
    if (bytes <= 0) return
    expect(this.account.arrived(bytes)).toBe(true)
    this.credit -= bytes
    this.inWork += bytes
  }

  finish(): void {
    const bytes = this.inWork
    this.inWork = 0
    this.moved += bytes
    if (bytes > 0) this.account.finished(bytes)
  }
}

describe('credit', () => {
  test('of a gateway that uses it grows to the window', () => {
    const gateway = new GreedyGateway(new CreditPool(RULES))
    for (let i = 0; i < 10; i++) {
      gateway.send()
      gateway.finish()
    }
    expect(gateway.credit).toBe(RULES.windowBytes)
  })

  test('of a gateway that sends little stays little', () => {
    const gateway = new GreedyGateway(new CreditPool(RULES))
    for (let i = 0; i < 1_000; i++) {
      gateway.send(200)
      gateway.finish()
    }
    expect(gateway.credit).toBeLessThanOrEqual(RULES.floorBytes)
    expect(gateway.credit).toBeGreaterThan(RULES.floorBytes / 2)
  })

  test('of a fleet that comes back stays within the budget and is shared evenly', () => {
    const pool = new CreditPool(RULES)
    const fleet = Array.from({ length: 100 }, () => new GreedyGateway(pool))
    for (let i = 0; i < 200; i++) {
      for (const gateway of fleet) {
        gateway.finish()
        gateway.send()
      }
      expect(pool.reservedBytes).toBeLessThanOrEqual(RULES.inflightBytesMax + fleet.length * RULES.floorBytes)
    }
    const moved = fleet.map((gateway) => gateway.moved)
    expect(Math.max(...moved) / Math.min(...moved)).toBeLessThan(2)
  })

  test('comes free for others when a gateway leaves', () => {
    const pool = new CreditPool({ ...RULES, inflightBytesMax: 256 * KIB })
    const hog = new GreedyGateway(pool)
    for (let i = 0; i < 10; i++) {
      hog.send()
      hog.finish()
    }
    const other = new GreedyGateway(pool)
    for (let i = 0; i < 3; i++) {
      other.send()
      other.finish()
    }
    const before = other.credit
    hog.account.close()
    expect(other.credit).toBeGreaterThan(before)
    other.account.close()
    expect(pool.reservedBytes).toBe(0)
  })

  test('may be exceeded by one item when nothing else is on the way, and only then', () => {
    const account = new CreditPool(RULES).open(() => undefined)
    expect(account.arrived(1024 * KIB)).toBe(true)
    expect(account.arrived(1)).toBe(false)
    account.finished(1024 * KIB)
    expect(account.available).toBeGreaterThan(0)
    expect(account.arrived(10)).toBe(true)
  })

  test('never runs dry for good, whatever comes', () => {
    const size = fc.integer({ min: 1, max: 1024 * KIB })
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(3), size), { maxLength: 200 }), (sends) => {
        const pool = new CreditPool({
          ...RULES,
          inflightBytesMax: 128 * KIB,
        })
        const fleet = Array.from({ length: 4 }, () => new GreedyGateway(pool))
        for (const [index, bytes] of sends) {
          const gateway = fleet[index] as GreedyGateway
          if (gateway.account.arrived(bytes)) gateway.inWork += bytes
          else gateway.finish()
        }
        for (const gateway of fleet) gateway.finish()
        for (const gateway of fleet) expect(gateway.account.available).toBeGreaterThan(0)
        for (const gateway of fleet) gateway.account.close()
        expect(pool.reservedBytes).toBe(0)
      }),
    )
  })
})

describe('the budget of decoded bytes', () => {
  test('admits in the order of asking, and what is larger than all of it alone', async () => {
    const budget = new ByteBudget(100)
    const order: string[] = []
    expect(budget.tryTake(90)).toBe(true)
    const { signal } = new AbortController()
    const large = budget.take(1_000, signal).then(() => order.push('large'))
    const small = budget.take(5, signal).then(() => order.push('small'))
    expect(budget.tryTake(1)).toBe(false)
    budget.give(90)
    await large
    expect(order).toEqual(['large'])
    budget.give(1_000)
    await small
    expect(budget.usedBytes).toBe(5)
  })
  test('is not taken by one that gave up, who holds nobody up either', async () => {
    const budget = new ByteBudget(100)
    const impatient = new AbortController()
    budget.tryTake(90)
    const large = budget.take(50, impatient.signal)
    const small = budget.take(10, new AbortController().signal)
    impatient.abort()
    expect(await large).toBe(false)
    expect(await small).toBe(true)
    expect(budget.usedBytes).toBe(100)
    expect(await budget.take(1, impatient.signal)).toBe(false)
  })
})
