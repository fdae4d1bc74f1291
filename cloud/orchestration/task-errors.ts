/** What is refused of a request for a task, or for a change of one, so that a caller can say which value is wrong and why. */

import { BusbarError } from '../../shared/errors.ts'
import type { TaskProblem } from './task-devices.ts'
import type { TaskRow } from './task-row.ts'

type Ended = Pick<TaskRow, 'id' | 'state' | 'finished_at_ms'>

/** A request that cannot become a task; `problems` has everything that is wrong with it, whatever their number. */
export class TaskRefusedError extends BusbarError {
  readonly problems: readonly TaskProblem[]

  constructor(problems: readonly TaskProblem[]) {
    const named = problems.slice(0, 20).map(({ pointer, remedy }) => `${pointer} must be ${remedy}`)
    const more = problems.length > named.length ? `; and ${problems.length - named.length} more` : ''
    super(named.join('; ') + more, { code: 'TASK_REFUSED', hint: 'correct the named members and try again' })
    this.name = 'TaskRefusedError'
    this.problems = problems
  }
}

/** What was asked does not fit the task's state; code TASK_STATE_CONFLICT. */
export class TaskConflictError extends BusbarError {
  constructor(message: string, hint: string) {
    super(message, { code: 'TASK_STATE_CONFLICT', hint })
    this.name = 'TaskConflictError'
  }
}

export function cannotCancel({ id, state, finished_at_ms }: Ended): TaskConflictError {
  const hint =
    finished_at_ms === null
      ? 'It is ending already: wait for the devices that have their command.'
      : `It has ended; POST /api/v1/tasks/${id}/retry tries the devices again that failed.`
  return new TaskConflictError(`Task ${id} is ${state} and cannot be cancelled.`, hint)
}

export function cannotRetry({ id, state, finished_at_ms }: Ended): TaskConflictError {
  if (finished_at_ms !== null) {
    return new TaskConflictError(
      `Task ${id} has nothing to try again: no device failed.`,
      'A device that succeeded too late counts as done.',
    )
  }
  return new TaskConflictError(
    `Task ${id} is ${state}: it can be tried again when it has ended.`,
    `Wait for it, or POST /api/v1/tasks/${id}/cancel first.`,
  )
}
