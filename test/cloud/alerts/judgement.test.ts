import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { AlertFinding } from '../../../cloud/alerts/alert-rows.ts'
import type { AlertRule } from '../../../cloud/alerts/alert-rule.ts'
import type { AlertState, Track } from '../../../cloud/alerts/alert-state.ts'
import { type Case, judge, judgeQuiet } from '../../../cloud/alerts/judgement.ts'
import { termsOf } from '../../../cloud/alerts/new-alert-rule.ts'

const RULE: AlertRule = {
  ...termsOf({
    ...{
      name: 'Hot',
      severity: 'WARNING',
      field: 'x',
      comparison: 'GTE',
      threshold: 10,
      durationSeconds: 2,
      hysteresis: 2,
    },
    recipients: { userIds: ['ops'] },
  }),
  ...{ id: 'rule-0000000000000000', version: 1, createdAtMs: 0, updatedAtMs: 0 },
}

type Value = Case['values'][number]
type Row = Omit<AlertFinding, 'opened'> & { readonly openedAtMs: number }

/** What is stored of a rule at a device, and what people were told: batch by batch, nothing remembered in between. */
class Stored {
  state: AlertState | null = null
  readonly alerts = new Map<string, Row>()
  readonly told = new Set<string>()
  private readonly track: Track

  constructor(track: Track) {
    this.track = track
  }

  take(values: readonly Value[]): void {
    const subject = {
      rule: RULE,
      deviceId: 1,
      siteId: 1,
      serialNumber: 'INV-1',
      track: this.track,
      values: [...values],
    }
    const judged = judge(subject, this.state, Number.NEGATIVE_INFINITY)
    const quiet = judgeQuiet(subject, this.state)
    if (quiet !== null) expect(judged).toEqual(quiet)
    const { state, changed, findings, notices } = judged
    if (!changed) return
    this.state = state
    for (const { opened, ...finding } of findings) {
      const known = this.alerts.get(finding.id)
      const openedAtMs = known?.openedAtMs ?? (opened?.openedAtMs as number)
      this.alerts.set(finding.id, {
        ...finding,
        openedAtMs,
        closedAtMs: finding.closedAtMs ?? known?.closedAtMs ?? null,
        closeReason: finding.closeReason ?? known?.closeReason ?? null,
        valueClosed: finding.valueClosed ?? known?.valueClosed ?? null,
      })
    }
    for (const { key } of notices) this.told.add(key)
  }
}

const anyValues = fc.array(fc.tuple(fc.integer({ min: 6, max: 14 }), fc.integer({ min: 200, max: 1_500 })), {
  size: 'max',
  maxLength: 120,
})

test.each(['live', 'past'] as const)(
  '%s readings come to the same in any batches, with a restart and a repetition after each',
  (track) => {
    fc.assert(
      fc.property(
        anyValues,
        fc.array(fc.tuple(fc.nat(12), fc.nat(20)), { minLength: 1, size: 'max', maxLength: 60 }),
        (drawn, cuts) => {
          let atMs = 0
          const values = drawn.map(([value, gapMs]) => {
            atMs += gapMs
            return { atMs, value }
          })
          const whole = new Stored(track)
          whole.take(values)
          const parts = new Stored(track)
          let done = 0
          for (let i = 0; done < values.length; i++) {
            const [length, back] = cuts[i % cuts.length] as [number, number]
            // Offsets that were not committed: what was taken already comes again, in other batches than before.
            parts.take(values.slice(Math.max(0, done - back), done + length + 1))
            done += length + 1
          }
          expect([...parts.alerts.values()]).toEqual([...whole.alerts.values()])
          expect(parts.told).toEqual(whole.told)
          if (track === 'past') expect(parts.told.size).toBe(0)
          else
            expect(parts.told.size).toBe(
              [...whole.alerts.values()].reduce((sum, { closedAtMs }) => sum + (closedAtMs === null ? 1 : 2), 0),
            )
        },
      ),
      { numRuns: 400 },
    )
  },
)
