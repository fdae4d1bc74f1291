/** How far a task is, in figures and as lines for a terminal or a pipe. Pure. */

import { formatCount, formatDuration } from '../../shared/cli/format.ts'
import type { Paint } from '../../shared/cli/terminal.ts'
import type { taskBody } from '../api/schemas/task.ts'
import { COMMAND_STATES, type CommandState, FINAL_STATES, isFinal } from '../gateways/command-state.ts'

export type TaskBody = ReturnType<typeof taskBody>

export interface Progress {
  readonly task: TaskBody
  /** Devices with a result. */
  readonly done: number
  /** Devices with a result in the last ten seconds, each second; null while that is unknown. */
  readonly perSecond: number | null
  /** Until the last result at that rate, milliseconds; null while that is unknown. */
  readonly leftMs: number | null
  /** Since it was first looked at, milliseconds. */
  readonly elapsedMs: number
}

/** Rates are over about this long. */
const RATE_WINDOW_MS = 10_000
/** No rate is told of less. */
const RATE_LEAST_MS = 1_000

/** What is on the way, in the order of the way. */
const OPEN_STATES = COMMAND_STATES.filter((state) => !isFinal(state))

/** Follows one task from look to look. */
export class ProgressMeter {
  private samples: { readonly atMs: number; readonly done: number }[] = []
  private beganMs: number | null = null

  /** @param nowMs monotonic. */
  look(task: TaskBody, nowMs: number): Progress {
    this.beganMs ??= nowMs
    const done = doneOf(task)
    const last = this.samples.at(-1)
    // A retry opened it again: what was done before says nothing about how fast it goes.
    if (last !== undefined && done < last.done) this.samples = []
    this.samples = [...this.samples.filter(({ atMs }) => atMs > nowMs - RATE_WINDOW_MS), { atMs: nowMs, done }]
    const [oldest] = this.samples
    const overMs = oldest === undefined ? 0 : nowMs - oldest.atMs
    const perSecond = oldest === undefined || overMs < RATE_LEAST_MS ? null : ((done - oldest.done) * 1_000) / overMs
    const left = task.device_count - done
    const leftMs = left === 0 ? 0 : perSecond === null || perSecond === 0 ? null : (left / perSecond) * 1_000
    return { task, done, perSecond, leftMs, elapsedMs: nowMs - this.beganMs }
  }
}

export function doneOf({ tally }: TaskBody): number {
  return FINAL_STATES.reduce((sum, state) => sum + tally[state], 0)
}

const BAR_CELLS_MAX = 50
/** What stands beside the bar. */
const BESIDE_BAR = 12

/** For a terminal of `columns`; always the same number of lines, none of them wraps. */
export function progressLines(progress: Progress, paint: Paint, columns: number): string[] {
  const { task, done } = progress
  const { command_type, taskId, state, device_count } = task
  const percent = `${Math.floor((done / Math.max(1, device_count)) * 100)} %`
  const cells = Math.max(10, Math.min(BAR_CELLS_MAX, columns - BESIDE_BAR))
  const counts = `${formatCount(done)} of ${formatCount(device_count)} devices${paceOf(progress)}`
  const tally = shownStates(task).map((name) => `${formatCount(task.tally[name])} ${nameOf(name)}`)
  return [
    `${clipped(`${command_type} ${taskId}  `, columns - 12)}${paintState(state, paint)}`,
    `${bar(task, cells, paint)} ${percent.padStart(5)}`,
    clipped(counts, columns),
    paint.faint(clipped(tally.join(', '), columns)),
  ]
}

/** For a pipe. */
export function progressLine(progress: Progress): string {
  const { task, done, elapsedMs } = progress
  const tally = shownStates(task).map((name) => `${nameOf(name)} ${task.tally[name]}`)
  const counts = `${done} of ${task.device_count}${paceOf(progress)}`
  return `${(elapsedMs / 1_000).toFixed(1)} s  ${task.state}  ${counts}  ${tally.join('  ')}`
}

/** Good where a device did it, bad where it did not. */
export function paintOutcome(state: CommandState, paint: Paint): (text: string) => string {
  if (state === 'SUCCEEDED') return paint.good
  if (state === 'CANCELLED') return paint.caution
  return isFinal(state) ? paint.bad : paint.faint
}

export function paintState(state: TaskBody['state'], paint: Paint): string {
  if (state === 'COMPLETED') return paint.good(state)
  return state === 'ABORTED' || state === 'ABORTING' ? paint.bad(state) : paint.caution(state)
}

/** `TIMED_OUT` as people say it. */
export function nameOf(state: CommandState): string {
  return state.toLowerCase().replaceAll('_', ' ')
}

function paceOf({ perSecond, leftMs }: Progress): string {
  const rate = perSecond === null ? '' : `, ${formatRate(perSecond)}/s`
  return leftMs === null || leftMs === 0 ? rate : `${rate}, ${formatDuration(leftMs)} left`
}

function formatRate(perSecond: number): string {
  return perSecond < 10 ? perSecond.toFixed(1) : formatCount(perSecond)
}

/** Those that somebody is in; the results first. */
function shownStates({ tally }: TaskBody): CommandState[] {
  return [...FINAL_STATES, ...OPEN_STATES.toReversed()].filter((state) => tally[state] > 0)
}

/** One run of cells for each kind of state: results, then what is with gateways and devices, then what waits. */
function bar({ tally, device_count }: TaskBody, cells: number, paint: Paint): string {
  const unsuccessful = FINAL_STATES.filter((state) => state !== 'SUCCEEDED' && state !== 'CANCELLED')
  const runs: readonly (readonly [readonly CommandState[], string, (text: string) => string])[] = [
    [['SUCCEEDED'], '█', paint.good],
    [unsuccessful, '█', paint.bad],
    [['CANCELLED'], '█', paint.caution],
    [['DELIVERED', 'SENT'], '▒', paint.caution],
  ]
  let count = 0
  let filled = 0
  let text = ''
  for (const [states, cell, colour] of runs) {
    count += states.reduce((sum, state) => sum + tally[state], 0)
    const end = Math.round((count / Math.max(1, device_count)) * cells)
    if (end > filled) text += colour(cell.repeat(end - filled))
    filled = Math.max(filled, end)
  }
  return text + paint.faint('·'.repeat(cells - filled))
}

function clipped(text: string, columns: number): string {
  return text.length <= columns ? text : `${text.slice(0, Math.max(0, columns - 1))}…`
}
