import { describe, expect, test } from 'vitest'
import { isComplete, Tally } from './tally.ts'

/** Three samples of two devices, published, acknowledged and arrived. */
function wholeTally(except: { acknowledged?: number; arrived?: number } = {}): Tally {
  const tally = new Tally()
  for (const serialNumber of ['INV-001', 'MTR-001']) {
    for (const sample of [1, 2, 3]) {
      tally.published(serialNumber, sample)
      if (serialNumber === 'MTR-001' && sample === except.acknowledged) continue
      tally.acknowledged(serialNumber, sample)
      if (serialNumber === 'MTR-001' && sample === except.arrived) continue
      tally.arrived(serialNumber, sample)
    }
  }
  return tally
}

describe('the tally', () => {
  test('is complete when every reading arrived once', () => {
    const result = wholeTally().result()
    expect(result).toEqual({ published: 6, acknowledged: 6, arrived: 6, lost: 0, duplicated: 0, unknown: 0 })
    expect(isComplete(result)).toBe(true)
  })

  test('sees a loss', () => {
    const result = wholeTally({ arrived: 2 }).result()
    expect(result).toMatchObject({ arrived: 5, lost: 1, duplicated: 0 })
    expect(isComplete(result)).toBe(false)
  })

  test('sees a duplicate', () => {
    const tally = wholeTally()
    tally.arrived('INV-001', 3)
    expect(tally.result()).toMatchObject({ arrived: 6, lost: 0, duplicated: 1 })
    expect(isComplete(tally.result())).toBe(false)
  })

  test('is not fooled by a loss and a duplicate that leave the totals equal', () => {
    const tally = wholeTally({ arrived: 2 })
    tally.arrived('INV-001', 1)
    expect(tally.result()).toMatchObject({ acknowledged: 6, lost: 1, duplicated: 1 })
    expect(isComplete(tally.result())).toBe(false)
  })

  test('does not call lost what was never acknowledged, and is not complete without it', () => {
    const result = wholeTally({ acknowledged: 1 }).result()
    expect(result).toMatchObject({ published: 6, acknowledged: 5, lost: 0 })
    expect(isComplete(result)).toBe(false)
  })

  test('sees readings that nobody published', () => {
    const tally = wholeTally()
    tally.arrived('INV-001', 4)
    tally.arrived('INV-777', 1)
    expect(tally.result()).toMatchObject({ arrived: 6, unknown: 2 })
    expect(isComplete(tally.result())).toBe(false)
  })

  test('an empty tally is not complete', () => {
    expect(isComplete(new Tally().result())).toBe(false)
  })
})
