/** The spool's store without its thread, so that a test says what time it is. */

import { onTestFinished } from 'vitest'
import type { Instant } from '../../edge/spool/boot-time.ts'
import { lastSequence, type SpoolItem } from '../../edge/spool/item.ts'
import type { LaneReport, NewBlock, StoreOptions } from '../../edge/spool/messages.ts'
import { Store } from '../../edge/spool/store.ts'
import { BlockBuilder } from '../../shared/block.ts'
import type { Lane, SequenceRange } from '../../shared/lanes.ts'
import { seededRandom } from './seeded-random.ts'
import { type ReadRecord, recordsOf, TOPIC } from './spool.ts'

export const NOON = Date.UTC(2026, 5, 1, 12)
const NO_ACKS = { priority: [], telemetry: [] }

/** A moment, `ms` after a gateway that has been up for a minute looked at its clock at noon. */
export function at(ms: number): Instant {
  return { wallMs: NOON + ms, monotonicMs: 60_000 + ms }
}

export interface TestStore {
  readonly store: Store
  /** Stores one block; throws what the store throws. */
  append(records: readonly (string | Uint8Array)[], now: Instant, lane?: Lane): void
  acknowledge(ranges: readonly SequenceRange[], now: Instant, lane?: Lane): void
  items(now: Instant, lane?: Lane, after?: number): SpoolItem[]
  records(now: Instant, lane?: Lane): ReadRecord[]
  lane(lane?: Lane): LaneReport
  evicted(): Readonly<Record<string, number>>
  /** Tends until there is nothing more to merge. */
  compact(now: Instant): void
}

export function openStore(dir: string, now: Instant, overrides: Partial<StoreOptions> = {}): TestStore {
  const options: StoreOptions = {
    dir,
    bytesMax: 256 * 1024 * 1024,
    ageMaxMs: 365 * 24 * 3600_000,
    diskFreeBytesMin: 0,
    compressionLevel: 1,
    bootId: 'boot-a',
    ...overrides,
  }
  const store = new Store(options, seededRandom(1))
  store.open(now)
  onTestFinished(() => store.close())
  const report = () => {
    const latest = store.report(0)
    if (latest === null) throw new Error('the store is open')
    return latest
  }
  const items = (when: Instant, lane: Lane = 'telemetry', after = 0) => {
    const all: SpoolItem[] = []
    for (let next = after; ; next = lastSequence(all.at(-1) as SpoolItem)) {
      const read = store.readAfter({ lane, afterSequence: next, bytesMax: 100_000, throughSequence: null }, when)
      if (read.length === 0) return all
      all.push(...read)
    }
  }
  return {
    store,
    append: (records, when, lane = 'telemetry') => {
      store.commit([newBlock(lane, records, when)], NO_ACKS, when)
    },
    acknowledge: (ranges, when, lane = 'telemetry') => {
      let left = store.commit([], { ...NO_ACKS, [lane]: ranges }, when).acksLeft
      while (left[lane].length > 0) left = store.commit([], left, when).acksLeft
    },
    items,
    records: (when, lane) => recordsOf(items(when, lane)),
    lane: (lane = 'telemetry') => report().lanes[lane],
    evicted: () => report().evicted,
    compact: (when) => {
      for (let more = true; more; ) more = store.tend({ compact: true, probe: false }, when)
    },
  }
}

export function newBlock(lane: Lane, records: readonly (string | Uint8Array)[], now: Instant): NewBlock {
  const builder = new BlockBuilder(64)
  for (const record of records) builder.add(TOPIC, 0, typeof record === 'string' ? Buffer.from(record) : record)
  return { lane, recordCount: records.length, body: builder.finish(), ...now }
}
