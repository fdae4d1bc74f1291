/** The enabled rules in memory, and which of them are about a device. */

import type { AlertRule } from './alert-rule.ts'

/**
 * Kinds of devices, by site and type, and devices with rules of their own, whose rules are remembered; at the limit all are
 * forgotten and found again.
 */
const REMEMBERED_MAX = 50_000

export interface RuleSubject {
  readonly deviceId: number
  readonly siteId: number
  readonly deviceType: string
}

export class RuleBook {
  private rules: readonly AlertRule[] = []
  /** Devices that some rule names. */
  private ownRules: ReadonlySet<number> = new Set()
  /** Devices of a site and a type share theirs, however many they are. */
  private readonly remembered = new Map<string, readonly AlertRule[]>()

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
    this.ownRules = new Set(this.rules.flatMap(({ scope }) => scope.deviceId ?? []))
    this.remembered.clear()
  }

  rulesFor(subject: RuleSubject): readonly AlertRule[] {
    if (this.rules.length === 0) return []
    const { deviceId, siteId, deviceType } = subject
    const kind = `${siteId}/${deviceType}`
    const key = this.ownRules.has(deviceId) ? `${deviceId}@${kind}` : kind
    const remembered = this.remembered.get(key)
    if (remembered !== undefined) return remembered
    if (this.remembered.size >= REMEMBERED_MAX) this.remembered.clear()
    const rules = this.rules.filter(({ scope }) => {
      if (scope.deviceId !== null) return scope.deviceId === deviceId
      return (
        (scope.siteId === null || scope.siteId === siteId) &&
        (scope.deviceType === null || scope.deviceType === deviceType)
      )
    })
    this.remembered.set(key, rules)
    return rules
  }
}
