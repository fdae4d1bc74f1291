/** The life of a task over many devices: one union, one table of what may follow what. Pure. */

/**
 * SCHEDULED: its start is ahead. REQUESTED: its task.requested is on the way to whoever expands it. RUNNING: devices get their
 * commands. CANCELLING and ABORTING: no further ones do, and those on the way are taken back where that is still possible.
 * The others are final; a final task whose devices failed may be opened again for them.
 */
export const TASK_STATES = [
  'SCHEDULED',
  'REQUESTED',
  'RUNNING',
  'CANCELLING',
  'ABORTING',
  'COMPLETED',
  'CANCELLED',
  'ABORTED',
] as const
export type TaskState = (typeof TASK_STATES)[number]

/** In these a runner has something to do. */
export const RUNNABLE_STATES = ['RUNNING', 'CANCELLING', 'ABORTING'] as const
export type RunnableState = (typeof RUNNABLE_STATES)[number]

/**
 * published: task.requested is on its topic. expanded: it was read back. cancel: somebody asked. abort: a threshold was
 * reached. ended: every device has its final state. retry: those that failed are to be tried again.
 */
export const TASK_EVENTS = ['published', 'expanded', 'cancel', 'abort', 'ended', 'retry'] as const
export type TaskEvent = (typeof TASK_EVENTS)[number]

const TRANSITIONS: Readonly<Record<TaskState, Partial<Record<TaskEvent, TaskState>>>> = {
  // It may be read back before the relay has noted that it was published.
  SCHEDULED: { published: 'REQUESTED', expanded: 'RUNNING', cancel: 'CANCELLING' },
  REQUESTED: { expanded: 'RUNNING', cancel: 'CANCELLING' },
  RUNNING: { cancel: 'CANCELLING', abort: 'ABORTING', ended: 'COMPLETED' },
  CANCELLING: { ended: 'CANCELLED' },
  ABORTING: { ended: 'ABORTED' },
  COMPLETED: { retry: 'REQUESTED' },
  CANCELLED: { retry: 'REQUESTED' },
  ABORTED: { retry: 'REQUESTED' },
}

/** The state after `event`; null when it does not fit `state`. */
export function nextTaskState(state: TaskState, event: TaskEvent): TaskState | null {
  return TRANSITIONS[state][event] ?? null
}

/** Every step that `event` can be, for statements that move many tasks at once. */
export function stepsOf(event: TaskEvent): { readonly from: TaskState; readonly to: TaskState }[] {
  return TASK_STATES.flatMap((from) => {
    const to = nextTaskState(from, event)
    return to === null ? [] : [{ from, to }]
  })
}

export function isRunnable(state: TaskState): state is RunnableState {
  return (RUNNABLE_STATES as readonly string[]).includes(state)
}
