/** The readings of a batch, sorted by what they are judged for. */

import type { Reading } from '../registry/device-event.ts'
import type { AlertRule } from './alert-rule.ts'
import type { AlertState, Track } from './alert-state.ts'
import type { StoredState } from './alert-state-store.ts'
import { fieldValue } from './condition.ts'
import type { Case } from './judgement.ts'
import type { RuleBook } from './rule-book.ts'

export class CaseFile {
  readonly cases: readonly Case[]
  private readonly byRule = new Map<string, AlertRule>()

  constructor(book: RuleBook, readings: Iterable<{ readonly reading: Reading; readonly track: Track }>) {
    const cases = new Map<AlertRule, Map<number, Case>>()
    for (const { reading, track } of readings) {
      const { deviceId, siteId, serialNumber, atMs } = reading
      const key = keyOf(deviceId, track)
      for (const rule of book.rulesFor(reading)) {
        const value = fieldValue(reading.fields, rule.condition.field)
        if (value === null) continue
        let ofRule = cases.get(rule)
        if (ofRule === undefined) {
          ofRule = new Map()
          cases.set(rule, ofRule)
        }
        const known = ofRule.get(key)
        if (known === undefined) {
          ofRule.set(key, { rule, deviceId, siteId, serialNumber, track, values: [{ atMs, value }] })
        } else known.values.push({ atMs, value })
      }
    }
    this.cases = [...cases.values()].flatMap((ofRule) => [...ofRule.values()])
    for (const rule of cases.keys()) this.byRule.set(rule.id, rule)
  }

  deviceIds(): number[] {
    return [...new Set(this.cases.map(({ deviceId }) => deviceId))]
  }

  /** Whether somebody has judged by later rules. */
  isOutdatedBy(stored: readonly StoredState[]): boolean {
    return stored.some(({ ruleId, ruleVersion }) => {
      const rule = this.byRule.get(ruleId)
      return rule !== undefined && ruleVersion > rule.version
    })
  }

  /** Finds the state of a case; what was judged by another version of its rule is forgotten. */
  statesOf(stored: readonly StoredState[]): (each: Case) => AlertState | null {
    const byRule = new Map<string, Map<number, StoredState>>()
    for (const each of stored) {
      const ofRule = byRule.get(each.ruleId)
      if (ofRule === undefined) byRule.set(each.ruleId, new Map([[keyOf(each.deviceId, each.track), each]]))
      else ofRule.set(keyOf(each.deviceId, each.track), each)
    }
    return ({ rule, deviceId, track }) => {
      const found = byRule.get(rule.id)?.get(keyOf(deviceId, track))
      return found?.ruleVersion === rule.version ? found.state : null
    }
  }
}

/** A number, since one is made for every reading and rule. */
function keyOf(deviceId: number, track: Track): number {
  return deviceId * 2 + (track === 'live' ? 0 : 1)
}
