/** The enabled rules in memory, and which of them are about a device. */

import type { AlertRule } from './alert-rule.ts'

/** Devices whose rules are remembered; at the limit all are forgotten and found again. */
const DEVICES_MAX = 200_000

export interface RuleSubject {
  readonly deviceId: number
  readonly siteId: number
  readonly deviceType: string
}

interface Remembered extends RuleSubject {
  readonly rules: readonly AlertRule[]
}

export class RuleBook {
  private rules: readonly AlertRule[] = []
  private readonly byDevice = new Map<number, Remembered>()

  get size(): number {
    return this.rules.length
  }

  /** A rule that did not change stays the same object, so that what is kept by it is kept. */
  replace(rules: readonly AlertRule[]): void {
    const known = new Map(this.rules.map((rule) => [rule.id, rule]))
    this.rules = rules.map((rule) => {
      const before = known.get(rule.id)
      return before?.version === rule.version ? before : rule
    })
    this.byDevice.clear()
  }

  rulesFor(subject: RuleSubject): readonly AlertRule[] {
    if (this.rules.length === 0) return []
    const { deviceId, siteId, deviceType } = subject
    const remembered = this.byDevice.get(deviceId)
    if (remembered?.siteId === siteId && remembered.deviceType === deviceType) return remembered.rules
    if (this.byDevice.size >= DEVICES_MAX) this.byDevice.clear()
    const rules = this.rules.filter(({ scope }) => {
      if (scope.deviceId !== null) return scope.deviceId === deviceId
      return (
        (scope.siteId === null || scope.siteId === siteId) &&
        (scope.deviceType === null || scope.deviceType === deviceType)
      )
    })
    this.byDevice.set(deviceId, { deviceId, siteId, deviceType, rules })
    return rules
  }
}
