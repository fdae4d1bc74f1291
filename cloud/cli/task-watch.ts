/** Follows a task to its end and tells how it went. */

import { EXIT_FAILED, EXIT_OK } from '../../shared/cli/exit-status.ts'
import { formatCount } from '../../shared/cli/format.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import { type Clock, sleep } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import { COMMAND_STATES } from '../gateways/command-state.ts'
import type { ApiClient } from './api-client.ts'
import { nameOf, ProgressMeter, paintOutcome, paintState, type TaskBody } from './progress.ts'
import { ProgressScreen } from './progress-screen.ts'

export interface WatchTools {
  readonly api: ApiClient
  readonly terminal: Terminal
  readonly clock: Clock
}

const LOOK_MS = 400
/** How long no core may answer, as while one takes over from another. */
const AWAY_MS_MAX = 60_000

/**
 * Resolves with 0 when every device succeeded, otherwise with 1.
 * @throws BusbarError when no core has answered for a minute, or there is no such task.
 */
export async function watchTask(taskId: string, json: boolean, tools: WatchTools): Promise<number> {
  const { api, terminal, clock } = tools
  const screen = new ProgressScreen(terminal, json)
  const meter = new ProgressMeter()
  let answeredMs = clock.monotonicMs()
  let isAway = false
  for (;;) {
    try {
      const task = await api.get<TaskBody>(`/api/v1/tasks/${taskId}`)
      answeredMs = clock.monotonicMs()
      isAway = false
      screen.show(meter.look(task, answeredMs))
      if (hasEnded(task)) return finish(task, json, terminal)
    } catch (error) {
      const isTemporary = error instanceof BusbarError && error.retryable
      if (!isTemporary || clock.monotonicMs() - answeredMs > AWAY_MS_MAX) throw error
      if (!isAway) screen.note(`${terminal.paint.caution('no core answers')}; the task goes on, still looking\n`)
      isAway = true
    }
    await sleep(clock, LOOK_MS)
  }
}

/** What became of the devices, and the status of the process. */
function finish(task: TaskBody, json: boolean, terminal: Terminal): number {
  const { tally, device_count, taskId } = task
  const allSucceeded = tally.SUCCEEDED === device_count
  if (json) terminal.out(`${JSON.stringify(task, null, 2)}\n`)
  else writeTally(task, terminal)
  if (!allSucceeded) {
    const id = terminal.paint.faint('next:')
    terminal.err(
      `${id} \`busbar-cloud task show ${taskId} --devices\` lists the devices, \`task retry ${taskId}\` tries `,
    )
    terminal.err('those again that did not succeed\n')
  }
  return allSucceeded ? EXIT_OK : EXIT_FAILED
}

/** Devices by state; states that none is in are left out. */
export function writeTally(task: TaskBody, terminal: Terminal): void {
  const { tally, device_count, state, reason } = task
  const { paint, out } = terminal
  out(`${paintState(state, paint)}${reason === null ? '' : `: ${reason}`}\n`)
  const rows = COMMAND_STATES.filter((name) => tally[name] > 0).map((name) => [
    paintOutcome(name, paint)(nameOf(name)),
    formatCount(tally[name]),
    `${((tally[name] / device_count) * 100).toFixed(1)} %`,
  ])
  writeTable(terminal, ['OUTCOME', 'DEVICES', 'SHARE'], rows)
}

function hasEnded({ state }: TaskBody): boolean {
  return state === 'COMPLETED' || state === 'CANCELLED' || state === 'ABORTED'
}
