/** Random storing, acknowledging, giving up, merging and restarting, against the simplest model there is. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { SpoolItem, StoredGap } from '../../../edge/spool/item.ts'
import { LATE_END_MS } from '../../../edge/spool/limits.ts'
import { rowBytes } from '../../../edge/spool/row-bytes.ts'
import { LANES, type Lane } from '../../../shared/lanes.ts'
import { recordsOf } from '../../support/spool.ts'
import { at, openStore, type TestStore } from '../../support/spool-store.ts'
import { tempDir } from '../../support/temp-dir.ts'

const AGE_MAX_MS = 60_000

type Step =
  | { readonly kind: 'append'; readonly lane: Lane; readonly blocks: readonly number[] }
  | { readonly kind: 'acknowledge'; readonly lane: Lane; readonly from: number; readonly length: number }
  | { readonly kind: 'compact' }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'restart' }

const lane = fc.constantFrom(...LANES)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      lane,
      blocks: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 8 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('acknowledge' as const),
      lane,
      from: fc.double({ min: 0, max: 1, noNaN: true }),
      length: fc.integer({ min: 1, max: 20 }),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ kind: 'compact' as const }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 40_000 }) }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'restart' as const }) },
)

/** Per lane what was appended and when, in order from the first sequence on, and which of it was acknowledged. */
interface LaneModel {
  readonly first: number
  readonly texts: string[]
  readonly wallMs: number[]
  readonly acknowledged: Set<number>
}

function expectAgreement(spool: TestStore, model: LaneModel, of: Lane, items: readonly SpoolItem[]): void {
  const held = new Map<number, string | null>()
  let last = 0
  for (const item of items) {
    expect(item.firstSequence).toBeGreaterThan(last)
    last = item.firstSequence + item.recordCount - 1
    if (item.kind === 'gap') expectStretch(item, model)
    if (item.kind === 'gap') for (let s = item.firstSequence; s <= last; s++) held.set(s, null)
  }
  for (const { sequence, text } of recordsOf(items)) held.set(sequence, text)
  for (const [index, text] of model.texts.entries()) {
    const sequence = model.first + index
    // Given up, or there unchanged; gone only when it was acknowledged.
    if (held.has(sequence)) expect(held.get(sequence) ?? text).toBe(text)
    else expect(model.acknowledged).toContain(sequence)
  }
  const blocks = items.filter((item) => item.kind === 'block')
  const gaps = items.filter((item) => item.kind === 'gap')
  const next = model.first + model.texts.length
  expect(spool.lane(of)).toMatchObject({
    records: blocks.reduce((sum, { recordCount }) => sum + recordCount, 0),
    bytes: blocks.reduce((sum, { data }) => sum + rowBytes(data.length), 0) + gaps.length * rowBytes(0),
    nextSequence: next,
    oldestSequence: items[0]?.firstSequence ?? next,
  })
}

/** The records lie within, and the stretch is not longer than it has to be for what was given up together with them. */
function expectStretch({ firstSequence, recordCount, firstWallMs, lastWallMs }: StoredGap, model: LaneModel): void {
  const received = model.wallMs.slice(firstSequence - model.first, firstSequence - model.first + recordCount)
  expect(firstWallMs).toBeLessThanOrEqual(Math.min(...received))
  expect(lastWallMs).toBeGreaterThanOrEqual(Math.max(...received))
  expect(model.wallMs).toContain(firstWallMs)
  const lateBy = model.wallMs.map((wallMs) => (lastWallMs ?? Number.NaN) - wallMs).filter((ms) => ms >= 0)
  expect(Math.min(...lateBy)).toBeLessThanOrEqual(LATE_END_MS)
}

test('nothing is lost, renumbered or changed, and the counters are exact', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const dir = await tempDir()
      let ms = 0
      let spool = openStore(dir, at(ms), { ageMaxMs: AGE_MAX_MS })
      const newModel = (of: Lane): LaneModel => ({
        first: spool.lane(of).nextSequence,
        texts: [],
        wallMs: [],
        acknowledged: new Set(),
      })
      const models: Record<Lane, LaneModel> = { priority: newModel('priority'), telemetry: newModel('telemetry') }
      for (const each of steps) {
        switch (each.kind) {
          case 'append': {
            const { texts, wallMs } = models[each.lane]
            for (const count of each.blocks) {
              const records = Array.from({ length: count }, (_, n) => `${each.lane} ${texts.length + n}`)
              spool.append(records, at(ms), each.lane)
              texts.push(...records)
              wallMs.push(...records.map(() => at(ms).wallMs))
            }
            break
          }
          case 'acknowledge': {
            const { first, texts, acknowledged } = models[each.lane]
            const from = first + Math.floor(each.from * texts.length)
            const range = { first: from, last: Math.min(from + each.length, first + texts.length) - 1 }
            if (range.last < range.first) break
            spool.acknowledge([range], at(ms), each.lane)
            for (let s = range.first; s <= range.last; s++) acknowledged.add(s)
            break
          }
          case 'compact':
            ms += 5_000
            spool.compact(at(ms))
            break
          case 'wait':
            ms += each.ms
            spool.store.tend({ compact: false, probe: false }, at(ms))
            break
          case 'restart':
            spool.store.close()
            spool = openStore(dir, at(ms), { ageMaxMs: AGE_MAX_MS })
        }
        for (const of of LANES) expectAgreement(spool, models[of], of, spool.items(at(ms), of))
      }
      // In the end every acknowledgement that was in flight comes again, and nothing stays.
      for (const of of LANES) {
        const { first, texts } = models[of]
        spool.acknowledge([{ first, last: first + texts.length - 1 }], at(ms), of)
        expect(spool.items(at(ms), of)).toEqual([])
      }
      spool.store.close()
    }),
    { numRuns: 40 },
  )
}, 120_000)
