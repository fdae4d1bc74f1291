import fc from 'fast-check'
import { expect, it } from 'vitest'
import {
  consumed,
  expectedRollups,
  type HandedBatches,
  handedBatches,
  type PlainReading,
  storedReadings,
  storedRollups,
} from '../../support/analytics-batches.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { readingRecord } from '../../support/device-records.ts'

const HOUR_MS = 3_600_000
const BEGIN_MS = Date.UTC(2026, 0, 5, 23, 30)
const DEVICES = 4

/** Times close together, about the begin of a day, week or month, and long ago. */
const anyTime = fc.oneof(
  fc.integer({ min: 0, max: 3 * 60_000 }).map((ms) => BEGIN_MS + ms),
  fc.integer({ min: -40 * 24, max: 24 }).map((hours) => BEGIN_MS + hours * HOUR_MS),
  fc.constantFrom(0, 1, 1_799_999, 1_800_000).map((ms) => BEGIN_MS + ms),
)
// Whole numbers: their sums are the same in whatever order they are added.
const anyValue = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: -1_000, max: 1_000 }) },
  fc.constantFrom('on', null, true),
)
const anyReading = fc.record({
  device: fc.nat(DEVICES - 1),
  atMs: anyTime,
  seq: fc.nat(3),
  fields: fc.dictionary(fc.constantFrom('powerKw', 'voltageV', 'mode', '__proto__'), anyValue, { maxKeys: 3 }),
})

type Step =
  | {
      readonly kind: 'deliver'
      readonly core: number
      readonly from: number
      readonly count: number
      readonly backwards: boolean
    }
  | { readonly kind: 'both'; readonly from: number; readonly count: number }
  | { readonly kind: 'rollUp'; readonly core: number }
  | { readonly kind: 'restart'; readonly core: number }

const core = fc.nat(1)
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('deliver' as const),
      core,
      from: fc.nat(40),
      count: fc.integer({ min: 1, max: 15 }),
      backwards: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('both' as const),
      from: fc.nat(40),
      count: fc.integer({ min: 1, max: 15 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('rollUp' as const), core }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('restart' as const), core }) },
)

await describeOnEveryDatabase('readings and roll-ups', (database) => {
  it('are those of a plain recomputation, whatever came late, twice, out of order, or on two cores at once', {
    timeout: 60_000,
  }, async () => {
    const url = await database.freshUrl()
    const handles = [await database.open({ url }), await database.open({ url })] as const
    const start = (which: number): Promise<HandedBatches> => handedBatches(handles[which === 0 ? 0 : 1])
    let base = 1
    let duplicates = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyReading, { minLength: 1, maxLength: 40, size: 'max' }),
        fc.array(anyStep, { maxLength: 15, size: 'max' }),
        async (drawn, steps) => {
          // Devices of their own, so that all runs have one database.
          const first = base
          base += DEVICES
          // The first of several with one key is the one that is stored, if it comes first; so they are alike here.
          const byKey = new Map<string, PlainReading>()
          for (const { device, ...reading } of drawn) {
            const key = `${device}/${reading.atMs}/${reading.seq}`
            if (!byKey.has(key)) byKey.set(key, { ...reading, deviceId: first + device })
          }
          const readings = [...byKey.values()]
          const records = consumed(readings.map((reading) => readingRecord(reading)))
          const cores = [await start(0), await start(1)]
          for (const step of steps) {
            if (step.kind === 'deliver') {
              const batch = records.slice(step.from, step.from + step.count)
              await cores[step.core]?.deliver(step.backwards ? batch.toReversed() : batch)
            } else if (step.kind === 'both') {
              const batch = records.slice(step.from, step.from + step.count)
              const rolling = cores.map(({ analytics }) => analytics.rollUp())
              await Promise.all([...cores.map((each) => each.deliver(batch)), ...rolling])
            } else if (step.kind === 'rollUp') await cores[step.core]?.analytics.rollUp()
            else {
              await cores[step.core]?.analytics.stop(new AbortController().signal)
              duplicates += cores[step.core]?.analytics.stats().duplicateReadings ?? 0
              cores[step.core] = await start(step.core)
            }
          }
          await cores[0]?.deliver(records)
          await cores[1]?.analytics.rollUp()
          for (const { analytics } of cores) {
            duplicates += analytics.stats().duplicateReadings
            await analytics.stop(new AbortController().signal)
          }

          const last = first + DEVICES - 1
          const byOrder = (a: PlainReading, b: PlainReading) =>
            a.deviceId - b.deviceId || a.atMs - b.atMs || a.seq - b.seq
          expect(await storedReadings(handles[0], first, last)).toEqual(readings.sort(byOrder))
          expect(await storedRollups(handles[0], first, last)).toEqual(expectedRollups(readings))
        },
      ),
      { numRuns: Number(process.env.RUNS ?? 20), endOnFailure: true },
    )
    expect(duplicates).toBeGreaterThan(0)
  })
})
