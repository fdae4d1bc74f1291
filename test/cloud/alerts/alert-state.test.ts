import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type AlertEffect,
  type AlertState,
  INITIAL_STATE,
  type Judged,
  step,
} from '../../../cloud/alerts/alert-state.ts'
import { type Condition, fieldValue, isBack, isMet, isWorse } from '../../../cloud/alerts/condition.ts'
import { changedTerms, invalidTerms, judgesAlike, termsOf } from '../../../cloud/alerts/new-alert-rule.ts'

const ABOVE: Condition = {
  field: 'x',
  comparison: 'GT',
  threshold: 10,
  low: null,
  high: null,
  durationSeconds: 0,
  hysteresis: 0,
}

type Value = { readonly atMs: number; readonly value: number }

function judgedBy(condition: Condition): Judged {
  return { ruleId: 'rule-1', ruleVersion: 1, deviceId: 7, track: 'live', condition }
}

function run(condition: Condition, values: readonly Value[], from: AlertState = INITIAL_STATE) {
  let state = from
  const effects: AlertEffect[] = []
  for (const value of values) {
    const next = step(state, value, judgedBy(condition))
    state = next.state
    if (next.effect !== null) effects.push(next.effect)
  }
  return { state, effects }
}

/** Values around the threshold, a second or so apart. */
const anyCondition = fc
  .record({
    field: fc.constant('x'),
    comparison: fc.constantFrom('GT', 'GTE', 'LT', 'LTE', 'EQ', 'NE', 'OUTSIDE', 'INSIDE'),
    durationSeconds: fc.nat(5),
    hysteresis: fc.nat(3),
  })
  .map((drawn): Condition => {
    const range = drawn.comparison === 'OUTSIDE' || drawn.comparison === 'INSIDE'
    const hysteresis = drawn.comparison === 'NE' ? 0 : drawn.hysteresis
    return {
      ...drawn,
      hysteresis,
      ...(range ? { threshold: null, low: 6, high: 14 } : { threshold: 10, low: null, high: null }),
    }
  })
const anyValues = fc
  .array(fc.record({ gapMs: fc.integer({ min: 1, max: 3_000 }), value: fc.integer({ min: 0, max: 20 }) }), {
    size: 'max',
    maxLength: 200,
  })
  .map((steps) => {
    let atMs = 1_000
    return steps.map(({ gapMs, value }): Value => {
      atMs += gapMs
      return { atMs, value }
    })
  })

/** What the values come to by the definition, looked at from outside: every point is judged by all before it. */
function recomputed(
  condition: Condition,
  values: readonly Value[],
): { openedAtMs: number; sinceMs: number; closedAtMs: number | null; worst: number }[] {
  const alerts: { openedAtMs: number; sinceMs: number; closedAtMs: number | null; worst: number }[] = []
  for (let i = 0; i < values.length; i++) {
    const { atMs, value } = values[i] as Value
    const last = alerts.at(-1)
    if (last !== undefined && last.closedAtMs === null) {
      if (isBack(condition, value)) last.closedAtMs = atMs
      else if (isWorse(condition, value, last.worst)) last.worst = value
      continue
    }
    // The unbroken run of values that meet the condition, up to here and since the last alert closed.
    let first = i + 1
    while (
      first > 0 &&
      isMet(condition, (values[first - 1] as Value).value) &&
      (values[first - 1] as Value).atMs > (last?.closedAtMs ?? 0)
    )
      first--
    if (first > i) continue
    const sinceMs = (values[first] as Value).atMs
    if (atMs - sinceMs >= condition.durationSeconds * 1_000)
      alerts.push({ openedAtMs: atMs, sinceMs, closedAtMs: null, worst: value })
  }
  return alerts
}

describe('the state of a rule at a device', () => {
  test('comes to the alerts that the definition says', () => {
    fc.assert(
      fc.property(anyCondition, anyValues, (condition, values) => {
        const { effects, state } = run(condition, values)
        const found: ReturnType<typeof recomputed> = []
        let worst = 0
        for (const effect of effects) {
          if (effect.kind === 'OPENED') {
            expect(found.every(({ closedAtMs }) => closedAtMs !== null)).toBe(true)
            worst = effect.value
            found.push({ openedAtMs: effect.atMs, sinceMs: effect.sinceMs, closedAtMs: null, worst })
            continue
          }
          const open = found.at(-1)
          expect(open?.closedAtMs).toBe(null)
          if (open === undefined) continue
          open.worst = effect.worst
          if (effect.kind === 'CLOSED') open.closedAtMs = effect.atMs
        }
        expect(found).toEqual(recomputed(condition, values))
        expect(state.kind === 'OPEN').toBe(found.at(-1)?.closedAtMs === null)
      }),
      { numRuns: 300 },
    )
  })

  test('is the same whatever old readings and duplicates come in between', () => {
    fc.assert(
      fc.property(
        anyCondition,
        anyValues,
        fc.infiniteStream(fc.nat()),
        fc.infiniteStream(fc.boolean()),
        (condition, values, picks, whether) => {
          const noisy = values.flatMap((value, i) => {
            if (!whether.next().value) return [value]
            const old = values[(picks.next().value as number) % (i + 1)] as Value
            // An older one with another value is no duplicate, and as little judged.
            return [value, { atMs: old.atMs, value: (picks.next().value as number) % 20 }]
          })
          expect(run(condition, noisy)).toEqual(run(condition, values))
        },
      ),
      { numRuns: 200 },
    )
  })

  test('an oscillation within the hysteresis is one alert', () => {
    const condition = { ...ABOVE, hysteresis: 2 }
    const values = Array.from({ length: 1_000 }, (_, i) => ({ atMs: i, value: i % 2 === 0 ? 10.1 : 8.1 }))
    const kinds = run(condition, [...values, { atMs: 2_000, value: 8 }]).effects.map(({ kind }) => kind)
    expect(kinds.filter((kind) => kind !== 'HELD')).toEqual(['OPENED', 'CLOSED'])
  })

  test('waits for the duration by event time, and begins anew when the condition breaks', () => {
    const condition = { ...ABOVE, durationSeconds: 60 }
    const minute = [0, 30, 59].map((s) => ({ atMs: s * 1_000, value: 11 }))
    expect(run(condition, minute)).toMatchObject({ state: { kind: 'PENDING', sinceMs: 0 }, effects: [] })
    const broken = [...minute, { atMs: 59_500, value: 10 }, { atMs: 60_000, value: 11 }, { atMs: 119_999, value: 11 }]
    expect(run(condition, broken).effects).toEqual([])
    expect(run(condition, [...broken, { atMs: 120_000, value: 12 }]).effects).toMatchObject([
      { kind: 'OPENED', sinceMs: 60_000, atMs: 120_000, value: 12 },
    ])
  })

  test('names an alert by rule, version, device, track and since', () => {
    const idOf = (judged: Partial<Judged>, atMs = 5) => {
      const { state } = step(INITIAL_STATE, { atMs, value: 11 }, { ...judgedBy(ABOVE), ...judged })
      return state.kind === 'OPEN' ? state.alertId : null
    }
    expect(idOf({})).toMatch(/^alert-[0-9a-f]{24}$/)
    expect(idOf({})).toBe(idOf({}))
    const others = [
      idOf({ ruleId: 'rule-2' }),
      idOf({ ruleVersion: 2 }),
      idOf({ deviceId: 8 }),
      idOf({ track: 'past' }),
      idOf({}, 6),
    ]
    expect(new Set([idOf({}), ...others]).size).toBe(6)
  })
})

describe('a condition', () => {
  const at = (comparison: Condition['comparison'], hysteresis: number): Condition => ({
    ...ABOVE,
    comparison,
    hysteresis,
  })
  const between = (comparison: 'OUTSIDE' | 'INSIDE', hysteresis: number): Condition => ({
    ...{ ...ABOVE, comparison, hysteresis, threshold: null, low: 10, high: 20 },
  })

  test.each([
    [at('GT', 0), [10.1], [10]],
    [at('GT', 0.1), [10.1], [9.9]],
    [at('GTE', 0), [10], [9.9]],
    [at('LT', 1), [9.9], [11]],
    [at('LTE', 0), [10], [10.1]],
    [at('EQ', 2), [10], [8, 12]],
    [at('NE', 0), [9, 11], [10]],
    [between('OUTSIDE', 2), [9, 21], [12, 18]],
    [between('INSIDE', 2), [10, 20], [8, 22]],
  ])('%j is met by %j and back at %j', (condition, met, back) => {
    for (const value of met) expect([isMet(condition, value), isBack(condition, value)]).toEqual([true, false])
    for (const value of back) expect([isMet(condition, value), isBack(condition, value)]).toEqual([false, true])
  })

  test.each([
    [at('GT', 0.1), 9.95],
    [at('LT', 1), 10.5],
    [at('EQ', 2), 11],
    [between('OUTSIDE', 2), 11],
    [between('INSIDE', 2), 21],
  ])('%j is neither met by nor back at %j', (condition, value) => {
    expect([isMet(condition, value), isBack(condition, value)]).toEqual([false, false])
  })

  test('finds a number by its name, or by the path to it', () => {
    const fields = { a: 1, 'b.c': 2, b: { c: 3, d: [4] }, t: '5', n: null, x: true }
    expect(fieldValue(fields, 'a')).toBe(1)
    expect(fieldValue(fields, 'b.c')).toBe(2)
    expect(fieldValue(fields, 'b.d.0')).toBe(4)
    for (const none of ['t', 'n', 'x', 'b', 'z', 'b.z', 'a.c', 'constructor', '__proto__', 'b.constructor.name']) {
      expect(fieldValue(fields, none)).toBe(null)
    }
  })
})

describe('a rule that is asked for', () => {
  const asked = { name: 'r', severity: 'INFO', field: 'x', comparison: 'GT', threshold: 1 } as const
  const range = { comparison: 'OUTSIDE', threshold: null, low: 1, high: 3 } as const
  const wrong = (changes: object) => invalidTerms(termsOf({ ...asked, ...changes })).map(({ field }) => field)

  test.each([
    [{}, []],
    [range, []],
    [{ name: ' ' }, ['name']],
    [{ name: 'a\0b' }, ['name']],
    [{ severity: 'BAD', field: '' }, ['severity', 'field']],
    [{ comparison: 'ABOUT' }, ['comparison']],
    [{ threshold: Number.NaN }, ['threshold']],
    [{ threshold: undefined }, ['threshold']],
    [{ threshold: Number.POSITIVE_INFINITY }, ['threshold']],
    [{ low: 1 }, ['low']],
    [{ ...range, threshold: 5 }, ['threshold']],
    [{ ...range, low: null }, ['low']],
    [{ ...range, low: 3 }, ['high']],
    [{ ...range, hysteresis: 1.1 }, ['hysteresis']],
    [{ hysteresis: -1 }, ['hysteresis']],
    [{ hysteresis: Number.NaN }, ['hysteresis']],
    [{ comparison: 'NE', hysteresis: 1 }, ['hysteresis']],
    [{ durationSeconds: 1.5 }, ['durationSeconds']],
    [{ siteId: 1, deviceType: 'METER' }, []],
    [{ siteId: 1, deviceId: 2 }, ['deviceId']],
    [{ deviceType: 'meter' }, ['deviceType']],
    [{ recipients: {} }, ['recipients']],
    [{ recipients: { userIds: ['a', 'a'] } }, ['recipients/userIds']],
    [{ recipients: { userIds: ['a b'] } }, ['recipients/userIds/0']],
    [{ recipients: { userIds: Array.from({ length: 51 }, (_, i) => `u${i}`) } }, ['recipients/userIds']],
    [{ escalation: { afterSeconds: 0, userIds: [] } }, ['escalation/userIds', 'escalation/afterSeconds']],
  ])('%j: what is wrong is %j', (changes, fields) => {
    expect(wrong(changes)).toEqual(fields)
  })

  test('takes what a new comparison needs, and lets go of what it has no use for', () => {
    const before = termsOf({ ...asked, hysteresis: 0.5 })
    const after = changedTerms(before, { comparison: 'INSIDE', low: 1, high: 2 })
    expect(after.condition).toMatchObject({ comparison: 'INSIDE', threshold: null, low: 1, high: 2, hysteresis: 0.5 })
    expect(invalidTerms(after)).toEqual([])
    expect(judgesAlike(before, after)).toBe(false)
    expect(judgesAlike(before, changedTerms(before, { name: 'other', recipients: { userIds: ['a'] } }))).toBe(true)
    for (const changes of [{ enabled: false }, { severity: 'CRITICAL' }, { threshold: 2 }, { siteId: 3 }] as const) {
      expect(judgesAlike(before, changedTerms(before, changes))).toBe(false)
    }
  })
})
