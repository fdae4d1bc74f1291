/** Whatever fails, recovers, dies or moves: a key keeps its order, and every record ends once. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { DEATHS, type Outcome, type Plan, runPlan, TRIES } from './support/parking-cores.ts'

let groups = 0

const plans: fc.Arbitrary<Plan> = fc.record({
  records: fc.array(
    fc.record({
      key: fc.constantFrom('a', 'b', 'c', 'd', null),
      fails: fc.oneof(
        { weight: 6, arbitrary: fc.constant(0) },
        fc.integer({ min: 1, max: TRIES - 1 }),
        fc.constant(1_000),
      ),
    }),
    { minLength: 1, maxLength: 40, size: 'max' },
  ),
  batchRecords: fc.integer({ min: 1, max: 10 }),
  deaths: fc.array(fc.record({ where: fc.constantFrom(...DEATHS), after: fc.nat(12) }), { maxLength: 6, size: 'max' }),
  outages: fc.array(fc.nat(60), { maxLength: 6, size: 'max' }),
  refusals: fc.array(fc.nat(10), { maxLength: 3 }),
  orphanedMs: fc.nat(1_500),
  moveAfter: fc.integer({ min: 1, max: 20 }),
})

function check({ records }: Plan, { effects, letters }: Outcome): void {
  const poison = records.flatMap(({ fails }, n) => (fails >= TRIES ? [n] : []))
  const sound = records.flatMap(({ fails }, n) => (fails >= TRIES ? [] : [n]))
  expect([...new Set(effects)].sort((a, b) => a - b)).toEqual(sound)
  expect([...new Set(letters.map(({ n }) => n))].sort((a, b) => a - b)).toEqual(poison)
  expect(letters.map(({ tries }) => tries)).toEqual(letters.map(() => TRIES))
  for (const key of new Set(records.map((record) => record.key))) {
    if (key === null) continue
    const ofKey = effects.filter((n) => records[n]?.key === key)
    // The effects in their order, and what a crash repeats too: whoever keeps the last one keeps the right one.
    const first = [...new Set(ofKey)]
    const last = [...new Set(ofKey.toReversed())].toReversed()
    const inOrder = [...first].sort((a, b) => a - b)
    expect({ key, first, last }).toEqual({ key, first: inOrder, last: inOrder })
  }
}

await describeOnEveryDatabase('records that are set aside', (databases) => {
  test('keep the order of their keys and end once, whatever fails, dies or moves', { timeout: 60_000 }, async () => {
    const database = await databases.open()
    let deaths = 0
    await fc.assert(
      fc.asyncProperty(plans, async (plan) => {
        const outcome = await runPlan(database, `group-${++groups}`, plan)
        deaths += outcome.deaths
        check(plan, outcome)
      }),
      { numRuns: 20, endOnFailure: true },
    )
    expect(deaths).toBeGreaterThan(5)
  })
})
