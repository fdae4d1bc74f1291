/** The demo's task: a new tariff for every meter, by the API, to the meters and back; held against what the meters did. */

import { ApiClient } from '../../cloud/cli/api-client.ts'
import { nameOf, ProgressMeter, type TaskBody } from '../../cloud/cli/progress.ts'
import { ProgressScreen } from '../../cloud/cli/progress-screen.ts'
import { COMMAND_STATES } from '../../cloud/gateways/command-state.ts'
import { formatCount } from '../../shared/cli/format.ts'
import type { Paint, Terminal } from '../../shared/cli/terminal.ts'
import { systemClock as clock, sleep } from '../../shared/clock.ts'
import { systemRandom as random } from '../../shared/random.ts'
import type { Stage } from './stage.ts'

export interface TariffResult {
  readonly tally: TaskBody['tally']
  readonly meters: number
  /** Meters that executed the command. */
  readonly executed: number
  /** Executions beyond the first of a meter. */
  readonly twice: number
  /** Answers of the meters, by what they said. */
  readonly answers: { readonly SUCCESS: number; readonly FAILED: number; readonly REJECTED: number }
}

const LOOK_MS = 150
const DONE_TIMEOUT_MS = 60_000

/** Null when it was interrupted. */
export async function switchTariff(
  stage: Stage,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<TariffResult | null> {
  const api = new ApiClient({ url: stage.cloud.apiUrl, clock, random })
  const meters = stage.clients.filter(({ kind }) => kind === 'meter')
  const asked = await api.post<TaskBody>('/api/v1/tasks', {
    command_type: 'SET_TOU',
    command_params: { tou_profile_id: 'TOU-2026-SUMMER' },
    device_ids: meters.map(({ serialNumber }) => serialNumber),
    requested_by: 'demo',
    options: { timeout_ms: 10_000 },
  })
  const screen = new ProgressScreen(terminal, false)
  const progress = new ProgressMeter()
  let task = asked
  const beganMs = clock.monotonicMs()
  while (task.finished_at === null) {
    await sleep(clock, LOOK_MS, signal)
    if (signal.aborted) return null
    task = await api.get<TaskBody>(`/api/v1/tasks/${asked.taskId}`)
    screen.show(progress.look(task, clock.monotonicMs()))
    if (clock.monotonicMs() - beganMs > DONE_TIMEOUT_MS) throw new Error(`the task is at ${JSON.stringify(task.tally)}`)
  }
  const executions = meters.flatMap((meter) => [...meter.executions.values()])
  const answers = { SUCCESS: 0, FAILED: 0, REJECTED: 0 }
  for (const { status } of executions) if (status !== null) answers[status]++
  return {
    tally: task.tally,
    meters: meters.length,
    executed: executions.length,
    twice: executions.reduce((sum, { times }) => sum + times - 1, 0),
    answers,
  }
}

/** Every meter executed it once, and the task tells of each what the meter said. */
export function isRight({ tally, meters, executed, twice, answers }: TariffResult): boolean {
  const { SUCCEEDED, FAILED, REJECTED, ...others } = tally
  return (
    executed === meters &&
    twice === 0 &&
    SUCCEEDED === answers.SUCCESS &&
    FAILED === answers.FAILED &&
    REJECTED === answers.REJECTED &&
    SUCCEEDED + FAILED + REJECTED === meters &&
    Object.values(others).every((count) => count === 0)
  )
}

export function tariffLines(result: TariffResult, paint: Paint): string[] {
  const { tally, meters, executed, twice } = result
  const row = (name: string, count: number, colour = (text: string): string => text): string =>
    `  ${name.padEnd(13)}${colour(formatCount(count).padStart(10))}`
  return [
    row('meters', meters),
    row('executed', executed, executed === meters ? paint.good : paint.bad),
    row('twice', twice, twice === 0 ? paint.good : paint.bad),
    ...COMMAND_STATES.filter((state) => tally[state] > 0).map((state) => row(nameOf(state), tally[state])),
  ]
}
