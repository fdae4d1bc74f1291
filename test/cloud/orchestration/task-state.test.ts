import { describe, expect, it } from 'vitest'
import { nextTaskState, stepsOf, TASK_EVENTS, TASK_STATES } from '../../../cloud/orchestration/task-state.ts'

/** What each state becomes by published, expanded, cancel, abort, ended, retry; "-" where the event does not fit. */
const TABLE = `
  SCHEDULED   REQUESTED  RUNNING  CANCELLING  -         -          -
  REQUESTED   -          RUNNING  CANCELLING  -         -          -
  RUNNING     -          -        CANCELLING  ABORTING  COMPLETED  -
  CANCELLING  -          -        -           -         CANCELLED  -
  ABORTING    -          -        -           -         ABORTED    -
  COMPLETED   -          -        -           -         -          REQUESTED
  CANCELLED   -          -        -           -         -          REQUESTED
  ABORTED     -          -        -           -         -          REQUESTED`

const rows = TABLE.trim()
  .split('\n')
  .map((line) => line.trim().split(/\s+/))
const cases = rows.flatMap(([state = '', ...next]) =>
  TASK_EVENTS.map((event, index) => [state, event, next[index] === '-' ? null : next[index]] as const),
)

describe('the state of a task', () => {
  it('is in the table, every one', () => {
    expect(rows.map(([state]) => state)).toEqual([...TASK_STATES])
  })

  it.each(cases)('%s, when %s: %s', (state, event, next) => {
    expect(nextTaskState(state as never, event)).toBe(next)
  })

  it('is moved by statements in the same steps', () => {
    expect(stepsOf('cancel')).toEqual([
      { from: 'SCHEDULED', to: 'CANCELLING' },
      { from: 'REQUESTED', to: 'CANCELLING' },
      { from: 'RUNNING', to: 'CANCELLING' },
    ])
  })
})
