import { describe, expect, it } from 'vitest'
import type { StoredBlock } from '../../../edge/spool/item.ts'
import { RECENT_BYTES_MAX, RECENT_MS } from '../../../edge/spool/limits.ts'
import { RecentBlocks } from '../../../edge/spool/recent-blocks.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const block = (firstSequence: number, recordCount: number, bytes = 10): StoredBlock => ({
  kind: 'block',
  lane: 'telemetry',
  firstSequence,
  recordCount,
  encoding: 'identity',
  crc32c: 0,
  bodyBytes: bytes,
  data: new Uint8Array(bytes),
  wallMs: 0,
  bootId: 'boot',
  monotonicMs: 0,
})
const ALL = { bytesMax: 1_000_000_000 }

function recentBlocks(...blocks: StoredBlock[]) {
  const clock = new ManualClock()
  const recent = new RecentBlocks(clock)
  recent.stored(blocks)
  const firsts = (after: number, limits: Parameters<RecentBlocks['after']>[2] = ALL) =>
    recent.after('telemetry', after, limits)?.map(({ firstSequence }) => firstSequence) ?? null
  return { clock, recent, firsts }
}

describe('recent blocks', () => {
  it('are given from any sequence that they hold, a block that holds it whole', () => {
    const { firsts } = recentBlocks(block(100, 5), block(105, 5), block(110, 1))
    expect(firsts(99)).toEqual([100, 105, 110])
    expect(firsts(106)).toEqual([105, 110])
    expect(firsts(104)).toEqual([105, 110])
  })

  it('leave to the disk what is older than they are, and what is not stored yet', () => {
    const { firsts } = recentBlocks(block(100, 5))
    expect(firsts(50)).toBeNull()
    expect(firsts(104)).toBeNull()
  })

  it('keep to the limits of a read, but give one', () => {
    const { firsts } = recentBlocks(block(100, 5, 50), block(105, 5, 50), block(110, 1, 50))
    expect(firsts(99, { bytesMax: 100 })).toEqual([100, 105])
    expect(firsts(99, { bytesMax: 1 })).toEqual([100])
    expect(firsts(99, { ...ALL, throughSequence: 107 })).toEqual([100, 105])
  })

  it('are without what was acknowledged', () => {
    const { recent, firsts } = recentBlocks(block(100, 5), block(105, 5), block(110, 1))
    recent.acknowledged('telemetry', [{ first: 105, last: 109 }])
    expect(firsts(99)).toEqual([100, 110])
  })

  it('are forgotten with age, beyond their bytes, after a break in the sequence, and when records were given up', () => {
    const { clock, recent, firsts } = recentBlocks(block(100, 5))
    clock.advance(RECENT_MS + 1)
    expect(firsts(99)).toBeNull()
    recent.stored([block(105, 5, RECENT_BYTES_MAX), block(110, 1, 10)])
    expect(firsts(104)).toBeNull()
    expect(firsts(109)).toEqual([110])
    recent.stored([block(200, 1)])
    expect(firsts(109)).toBeNull()
    expect(firsts(199)).toEqual([200])
    recent.clear()
    expect(firsts(199)).toBeNull()
  })
})
