/** What whoever asked for a task is told when it has ended. Pure. */

import type { TaskView } from '../orchestration/orchestration.ts'
import { type Notice, type Severity, USER_ID_PATTERN } from './notice.ts'

/**
 * Null when it was asked for by somebody who is no user, such as `shift leader`.
 * @param task one that has ended.
 */
export function taskNotice(task: TaskView): Notice | null {
  const { taskId, round, requestedBy, state, commandType, deviceCount, tally, reason } = task
  if (!USER_ID_PATTERN.test(requestedBy)) return null
  const succeeded = `${tally.SUCCEEDED} of ${deviceCount} ${deviceCount === 1 ? 'device' : 'devices'} succeeded`
  const others = Object.entries(tally).filter(([outcome, count]) => count > 0 && outcome !== 'SUCCEEDED')
  const counted = [succeeded, ...others.map(([outcome, count]) => `${count} ${outcome}`)].join(', ')
  return {
    type: 'TASK_COMPLETED',
    severity: severityOf(task),
    title: `Task ${commandType} is ${state}`,
    content: `${commandType}: ${counted}.${reason === null ? '' : ` Reason: ${reason}`}`,
    relatedEntityId: taskId,
    siteIds: null,
    key: `task/${taskId}/${round}`,
    recipients: { userIds: [requestedBy], subscribers: false },
    atMs: task.finishedAtMs ?? task.updatedAtMs,
  }
}

/** A task that somebody cancelled comes as no surprise. */
function severityOf({ state, tally, deviceCount }: TaskView): Severity {
  if (state === 'CANCELLED') return 'INFO'
  return state === 'ABORTED' || tally.SUCCEEDED < deviceCount ? 'WARNING' : 'INFO'
}
