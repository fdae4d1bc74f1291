/** How the demo shows what flows: a few lines for a terminal, one line for a pipe. Pure. */

import { formatBytes, formatCount } from '../../shared/cli/format.ts'
import type { Paint } from '../../shared/cli/terminal.ts'
import type { TallyResult } from './tally.ts'

export interface DemoFacts {
  /** Seconds since the devices began. */
  readonly elapsedS: number
  /** What the demo is doing, in a few words. */
  readonly act: string
  readonly simulatedMs: number
  readonly devices: number
  readonly published: number
  readonly publishedPerSecond: number
  readonly acknowledged: number
  readonly spoolRecords: number
  readonly spoolBytes: number
  /** The most records the spool has held so far. */
  readonly spoolPeak: number
  readonly uplink: 'connected' | 'connecting' | 'cut'
  readonly arrived: number
  readonly arrivedPerSecond: number
}

const BAR_CELLS = 30
/** A spool of fewer records shows no full bar. */
const BAR_SCALE_MIN = 2_000

/** For a terminal; always the same number of lines. */
export function liveLines(facts: DemoFacts, paint: Paint): string[] {
  const perSecond = (rate: number): string => paint.faint(`${formatCount(rate).padStart(8)}/s`)
  const cell = (count: number): string => formatCount(count).padStart(10)
  const uplink = { connected: paint.good, connecting: paint.caution, cut: paint.bad }[facts.uplink](
    facts.uplink === 'cut' ? 'CUT' : facts.uplink,
  )
  const day = new Date(facts.simulatedMs).toISOString().slice(0, 16).replace('T', ' ')
  return [
    paint.caution(facts.act),
    `  devices    ${cell(facts.devices)}  ${paint.faint(`their time is ${day} UTC`)}`,
    `  published  ${cell(facts.published)}${perSecond(facts.publishedPerSecond)}`,
    `  PUBACKed   ${cell(facts.acknowledged)}  ${paint.faint('each is on the gateway’s disk')}`,
    `  in spool   ${cell(facts.spoolRecords)}  ${bar(facts, paint)} ${paint.faint(formatBytes(facts.spoolBytes))}`,
    `  uplink     ${''.padStart(10 - Math.min(10, facts.uplink === 'cut' ? 3 : facts.uplink.length))}${uplink}`,
    `  arrived    ${cell(facts.arrived)}${perSecond(facts.arrivedPerSecond)}`,
  ]
}

function bar(facts: DemoFacts, paint: Paint): string {
  const scale = Math.max(BAR_SCALE_MIN, facts.spoolPeak)
  const full = Math.min(BAR_CELLS, Math.ceil((facts.spoolRecords / scale) * BAR_CELLS))
  const colour = facts.spoolRecords < BAR_SCALE_MIN ? paint.good : paint.caution
  return colour('█'.repeat(full)) + paint.faint('·'.repeat(BAR_CELLS - full))
}

/** For a pipe. */
export function plainLine(facts: DemoFacts): string {
  const { elapsedS, published, acknowledged, spoolRecords, uplink, arrived } = facts
  const counts = `published ${published}  acknowledged ${acknowledged}  spool ${spoolRecords}`
  return `${elapsedS.toFixed(1).padStart(5)} s  ${counts}  uplink ${uplink}  arrived ${arrived}`
}

/** The count at the end. */
export function tallyLines(result: TallyResult, paint: Paint): string[] {
  const row = (name: string, count: number, colour = (text: string): string => text): string =>
    `  ${name.padEnd(13)}${colour(formatCount(count).padStart(10))}`
  const mustBeNone = (count: number) => (count === 0 ? paint.good : paint.bad)
  return [
    row('published', result.published),
    row('acknowledged', result.acknowledged),
    row('arrived', result.arrived, result.arrived === result.acknowledged ? paint.good : paint.bad),
    row('lost', result.lost, mustBeNone(result.lost)),
    row('duplicated', result.duplicated, mustBeNone(result.duplicated)),
    ...(result.unknown > 0 ? [row('unknown', result.unknown, paint.bad)] : []),
  ]
}
