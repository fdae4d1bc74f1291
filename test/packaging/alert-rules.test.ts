/** The alert rules that are handed out: they can be read, say what to do, and ask for nothing that a core does not have. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { projectDir } from '../support/child.ts'
import { startWalkCore } from '../support/walk-core.ts'

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly for?: string
  readonly labels: { readonly severity: string }
  readonly annotations: Readonly<Record<string, string>>
}

const text = readFileSync(join(projectDir, 'packaging/prometheus/busbar-alerts.yml'), 'utf8')
const { groups } = Bun.YAML.parse(text) as { readonly groups: readonly { readonly rules: readonly Rule[] }[] }
const rules = groups.flatMap((group) => group.rules)

it('every rule is named once, says how bad it is and what to do, and is balanced', () => {
  expect(rules.length).toBeGreaterThan(15)
  expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length)
  for (const { alert, expr, labels, annotations, ...rest } of rules) {
    expect(alert).toMatch(/^Busbar[A-Z][A-Za-z]+$/)
    expect(['critical', 'warning', 'info'], alert).toContain(labels.severity)
    expect(Object.keys(annotations), alert).toEqual(['summary', 'description', 'next'])
    expect(rest.for ?? '1m', alert).toMatch(/^\d+m$/)
    for (const [open, close] of [
      ['(', ')'],
      ['{', '}'],
      ['[', ']'],
    ] as const) {
      expect(expr.split(open).length, alert).toBe(expr.split(close).length)
    }
  }
})

it('every metric that a rule asks for is one that a core has', async () => {
  const core = await startWalkCore(['admin.all'])
  try {
    const metrics = await (
      await fetch(`${core.url}/metrics`, { headers: { authorization: 'Bearer admin.all' } })
    ).text()
    const known = new Map([...metrics.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type]))
    const asked = rules.flatMap(({ expr }) => [...expr.matchAll(/\bbusbar_\w+/g)].map(([name]) => name))
    const isKnown = (name: string) =>
      known.has(name) || known.get(name.replace(/_(?:bucket|sum|count)$/, '')) === 'histogram'
    expect(asked.length).toBeGreaterThan(rules.length)
    expect(asked.filter((name) => !isKnown(name))).toEqual([])
    // A counter says little by itself, and a gauge may go down.
    for (const { alert, expr } of rules) {
      for (const [name, type] of known) {
        if (name === undefined || !expr.includes(name) || expr.includes(`${name}_`)) continue
        const isRate = new RegExp(`(?:rate|increase)\\(${name}\\b`).test(expr)
        expect(isRate, `${alert}: ${name} is a ${type}`).toBe(type !== 'gauge')
      }
    }
  } finally {
    await core.stop()
  }
})
