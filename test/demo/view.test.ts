import { expect, test } from 'vitest'
import { paintWith } from '../../shared/cli/terminal.ts'
import { Screen } from './screen.ts'
import { type DemoFacts, liveLines, plainLine, tallyLines } from './view.ts'

const paint = paintWith(false)
const facts: DemoFacts = {
  elapsedS: 12.34,
  act: 'The uplink is cut.',
  simulatedMs: Date.UTC(2026, 5, 21, 10, 15),
  devices: 12,
  published: 21_034,
  publishedPerSecond: 2_070,
  acknowledged: 21_030,
  spoolRecords: 9_000,
  spoolBytes: 1_048_576,
  spoolPeak: 9_000,
  uplink: 'cut',
  arrived: 12_030,
  arrivedPerSecond: 0,
}

test('a terminal sees every count and a bar that grows with the spool', () => {
  const lines = liveLines(facts, paint)
  expect(lines.join('\n')).toContain('21,034')
  expect(lines.join('\n')).toContain('CUT')
  expect(lines.join('\n')).toContain('2026-06-21 10:15')
  const cells = (of: DemoFacts): number => liveLines(of, paint).join('').split('█').length - 1
  expect(cells(facts)).toBe(30)
  expect(cells({ ...facts, spoolRecords: 4_500 })).toBe(15)
  expect(cells({ ...facts, spoolRecords: 0 })).toBe(0)
})

test('a pipe sees one plain line', () => {
  expect(plainLine(facts)).toBe(' 12.3 s  published 21034  acknowledged 21030  spool 9000  uplink cut  arrived 12030')
})

test('a screen rewrites its lines in a terminal and adds lines slowly in a pipe', () => {
  const shown = (isInteractive: boolean): string => {
    let text = ''
    const screen = new Screen({ out: (more) => (text += more), err: () => undefined, isInteractive, paint })
    for (const elapsedS of [0, 0.2, 0.4, 1.1]) screen.show({ ...facts, elapsedS })
    return text
  }
  const lines = liveLines(facts, paint).length
  expect(shown(true).split(`\u001b[${lines}A`)).toHaveLength(4)
  expect(shown(false).match(/ s {2}published/g)).toHaveLength(2)
  expect(shown(false)).not.toContain('\u001b')
})

test('the count names what was lost and doubled', () => {
  const result = { published: 1000, acknowledged: 1000, arrived: 998, lost: 2, duplicated: 1, unknown: 0 }
  expect(tallyLines(result, paint).map((line) => line.trim().split(/\s+/))).toEqual([
    ['published', '1,000'],
    ['acknowledged', '1,000'],
    ['arrived', '998'],
    ['lost', '2'],
    ['duplicated', '1'],
  ])
})
