import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SendLimit } from '../../../cloud/chat/send-limit.ts'

const RULES = { messagesPerMinute: 120, messagesBurst: 3 }

describe('the limit of what one user may write', () => {
  it('lets a burst through, then says when the next may come, which is right', () => {
    const limit = new SendLimit(RULES)
    expect([0, 0, 0, 0].map(() => limit.take('ann', 1_000))).toEqual([0, 0, 0, 500])
    expect(limit.take('ann', 1_499)).toBe(1)
    expect(limit.take('ann', 1_500)).toBe(0)
    expect(limit.take('ann', 1_500)).toBe(500)
    // After a pause no more than a burst.
    expect([0, 0, 0, 0].map(() => limit.take('ann', 900_000))).toEqual([0, 0, 0, 500])
    expect(limit.take('bob', 1_000)).toBe(0)
  })

  it('forgets who wrote longest ago when it remembers too many', () => {
    const limit = new SendLimit(RULES, 3)
    for (const user of ['a', 'b', 'c', 'a', 'd', 'e']) limit.take(user, 0)
    expect(limit.size).toBe(3)
    expect([limit.take('a', 0), limit.take('a', 0)]).toEqual([0, 500])
    expect(limit.take('b', 0)).toBe(0)
  })

  it('never lets more through than a burst and what came back since', () => {
    const steps = fc.array(fc.nat(2_000), { maxLength: 200 })
    fc.assert(
      fc.property(steps, (waits) => {
        const limit = new SendLimit(RULES)
        let [nowMs, allowed] = [0, 0]
        for (const wait of waits) {
          nowMs += wait
          if (limit.take('ann', nowMs) === 0) allowed++
        }
        expect(allowed).toBeLessThanOrEqual(3 + Math.floor((nowMs * 120) / 60_000))
      }),
      { numRuns: 50 },
    )
  })
})
