/**
 * Up to when the readings of a device were judged by a rule, in memory: what stays as it is stores nothing, so the database
 * knows only of the last change. Without this memory, as after a restart, a reading that comes late and out of order is
 * judged when it is younger than that change.
 */

import type { AlertRule } from './alert-rule.ts'
import type { Track } from './alert-state.ts'

/** About 60 bytes each; at the limit all are forgotten. */
const ENTRIES_MAX = 500_000

export class JudgedTimes {
  /** Another version of a rule is another object: it begins anew, and what the old one had goes with it. */
  private byRule = new WeakMap<AlertRule, Map<number, number>>()
  private entries = 0

  get(rule: AlertRule, deviceId: number, track: Track): number {
    return this.byRule.get(rule)?.get(keyOf(deviceId, track)) ?? Number.NEGATIVE_INFINITY
  }

  note(rule: AlertRule, deviceId: number, track: Track, atMs: number): void {
    const times = this.byRule.get(rule) ?? new Map<number, number>()
    const key = keyOf(deviceId, track)
    const known = times.get(key)
    if (known === undefined) {
      if (this.entries >= ENTRIES_MAX) {
        this.byRule = new WeakMap()
        this.entries = 0
        times.clear()
      }
      this.entries++
    }
    if (known === undefined || known < atMs) times.set(key, atMs)
    this.byRule.set(rule, times)
  }
}

function keyOf(deviceId: number, track: Track): number {
  return deviceId * 2 + (track === 'live' ? 0 : 1)
}
