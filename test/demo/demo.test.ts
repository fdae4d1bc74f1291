import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { bunPath, startChild } from '../support/child.ts'

const DEMO = join(import.meta.dirname, 'demo.ts')

const counted = (output: string, name: string): number =>
  Number(new RegExp(`^ +${name} +([0-9,]+)$`, 'm').exec(output)?.[1]?.replaceAll(',', ''))

test('the demo goes through an outage and a task, finds every reading once, and every meter did once what it was told', {
  timeout: 90_000,
}, async () => {
  const demo = startChild({ command: [bunPath, DEMO, '--exit'] })
  onTestFinished(async () => void (await demo.kill('SIGKILL')))
  const { code } = await demo.exited
  const output = demo.output()
  expect({ code, output }).toEqual({ code: 0, output })
  expect(output).toMatch(/uplink cut/)
  // The spool grew while the link was cut.
  const spooled = [...output.matchAll(/spool (\d+)/g)].map((match) => Number(match[1]))
  expect(Math.max(...spooled)).toBeGreaterThan(1000)
  expect(counted(output, 'published')).toBeGreaterThan(10_000)
  expect(counted(output, 'acknowledged')).toBe(counted(output, 'published'))
  expect(counted(output, 'arrived')).toBe(counted(output, 'published'))
  expect(counted(output, 'lost')).toBe(0)
  expect(counted(output, 'duplicated')).toBe(0)
  expect(output).toMatch(/COMPLETED {2}4 of 4/)
  expect(counted(output, 'executed')).toBe(4)
  expect(counted(output, 'twice')).toBe(0)
  expect(counted(output, 'succeeded')).toBe(3)
  expect(counted(output, 'failed')).toBe(1)
  expect(counted(output, 'rolled up')).toBe(counted(output, 'published'))
  expect(counted(output, 'alerts')).toBeGreaterThan(0)
})

test('an unknown flag is refused with what there is', async () => {
  const demo = startChild({ command: [bunPath, DEMO, '--quit'] })
  expect((await demo.exited).code).toBe(64)
  expect(demo.output()).toContain('--exit')
})
