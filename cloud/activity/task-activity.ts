/** What is recorded of a command to many devices. Pure. */

import { derivedEventId } from './activity-record.ts'
import type { NewActivity } from './event.ts'

/** Devices that an entry names; the task has all of them. */
const NAMED_MAX = 200

/** Members of metadata: how many devices, and which, as far as there is room. */
export function taskMetadata(commandType: string, deviceIds: readonly string[] | undefined): Record<string, unknown> {
  if (deviceIds === undefined) return { commandType }
  return { commandType, devices: deviceIds.length, deviceIds: deviceIds.slice(0, NAMED_MAX) }
}

/** The entry of a task that another program put onto its topic. */
export function foreignTaskActivity(request: {
  readonly taskId: string
  readonly commandType: string
  readonly requestedBy: string
  readonly deviceIds: readonly string[]
}): NewActivity {
  const { taskId, commandType, requestedBy, deviceIds } = request
  return {
    userId: requestedBy,
    activityType: 'task',
    eventId: derivedEventId('evt', 'task.requested', taskId),
    outcome: 'SUCCESS',
    objectType: 'task',
    objectId: taskId,
    metadata: { ...taskMetadata(commandType, deviceIds), from: 'task.requested' },
  }
}
