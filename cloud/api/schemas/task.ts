/** A task over many devices as the API shows and takes it: in the words of task.requested. */

import { Type } from '@sinclair/typebox'
import { COMMAND_STATES } from '../../gateways/gateways.ts'
import {
  optionsBody,
  TASK_ID,
  TASK_STATES,
  type TaskDeviceView,
  TaskOptionsSchema,
  type TaskView,
} from '../../orchestration/orchestration.ts'
import { CommandNameSchema, CommandParamsSchema, CommandStateSchema } from './command.ts'
import {
  closed,
  NameSchema,
  nullable,
  SerialNumberSchema,
  SiteIdSchema,
  TimeSchema,
  time,
  timeOrNull,
} from './common.ts'
import { DeviceTypeSchema } from './device.ts'

/** Longest list that is looked at; the setting tasks.devicesMax is lower or the same. */
const DEVICE_IDS_MAX = 100_000

export const TaskIdSchema = Type.String({
  // As a schema it has no flags.
  pattern: TASK_ID.source.replace('0-9a-f', '0-9a-fA-F'),
  description: '24 hexadecimal digits',
})
export const TaskStateSchema = Type.Union(TASK_STATES.map((state) => Type.Literal(state)))

export const NewTaskSchema = Type.Object(
  {
    command_type: CommandNameSchema,
    command_params: Type.Optional(CommandParamsSchema),
    device_ids: Type.Optional(
      Type.Array(SerialNumberSchema, { maxItems: DEVICE_IDS_MAX, description: 'Serial numbers, each once' }),
    ),
    site_id: Type.Optional(SiteIdSchema),
    device_type: Type.Optional(DeviceTypeSchema),
    requested_by: Type.Optional({
      ...NameSchema,
      description: `Who asks: whoever is logged in, and no other; to be said where nobody logs in. ${NameSchema.description}`,
    }),
    options: Type.Optional(TaskOptionsSchema),
  },
  {
    ...closed,
    $id: 'NewTask',
    description:
      'The devices are those of device_ids, or all of site_id, of device_type, or of both. site_id beside device_ids says ' +
      'where they are, which is needed where several sites have one of the serial numbers.',
  },
)

export const TaskCancellationSchema = Type.Object(
  {
    reason: Type.Optional(
      Type.String({ minLength: 1, maxLength: 200, pattern: '^[^\\x00]*$', description: 'For people' }),
    ),
  },
  { ...closed, $id: 'TaskCancellation' },
)
export const TaskRetrySchema = Type.Object({}, { ...closed, $id: 'TaskRetry' })

const TallySchema = Type.Object(
  Object.fromEntries(COMMAND_STATES.map((state) => [state, Type.Integer({ minimum: 0 })])),
  { ...closed, $id: 'TaskTally', description: 'Devices in each state; together they are device_count' },
)

export const TaskSchema = Type.Object(
  {
    taskId: TaskIdSchema,
    command_type: CommandNameSchema,
    command_params: Type.Unknown({ description: 'Any JSON; null for none' }),
    requested_by: NameSchema,
    source: Type.Union([Type.Literal('api'), Type.Literal('topic')], {
      description: 'topic: somebody else produced its task.requested',
    }),
    state: TaskStateSchema,
    reason: nullable(Type.String({ description: 'Why it was cancelled or aborted' })),
    round: Type.Integer({ minimum: 1, description: '1, and one more with each retry of what failed' }),
    device_count: Type.Integer({ minimum: 1 }),
    tally: TallySchema,
    options: TaskOptionsSchema,
    created_at: TimeSchema,
    start_at: TimeSchema,
    expires_at: TimeSchema,
    started_at: nullable(TimeSchema),
    finished_at: nullable(TimeSchema),
    updated_at: TimeSchema,
  },
  {
    ...closed,
    $id: 'Task',
    description: 'A command to many devices. It has ended when it is COMPLETED, CANCELLED or ABORTED.',
  },
)

export const TaskDeviceSchema = Type.Object(
  {
    device_id: SerialNumberSchema,
    site_id: nullable(SiteIdSchema),
    state: CommandStateSchema,
    attempt: Type.Integer({ minimum: 0, description: 'Commands issued for it in this round' }),
    command_id: nullable(Type.String({ description: 'Of the last attempt; null before the first and between two' })),
    ready_at: nullable(Type.String({ format: 'date-time', description: 'When its next attempt may begin' })),
    reason: nullable(Type.String({ description: 'For people; null when the state says it all' })),
    response: Type.Unknown({ description: 'What the device sent with its answer; null for nothing' }),
    finished_at: nullable(TimeSchema),
    late: nullable(
      Type.Object(
        { state: CommandStateSchema, response: Type.Unknown(), at: TimeSchema },
        { ...closed, description: 'What came after the end, which it does not change' },
      ),
    ),
    updated_at: TimeSchema,
  },
  { ...closed, $id: 'TaskDevice', description: 'One device of a task' },
)

export function taskBody(task: TaskView) {
  return {
    taskId: task.taskId,
    command_type: task.commandType,
    command_params: task.commandParams,
    requested_by: task.requestedBy,
    source: task.source,
    state: task.state,
    reason: task.reason,
    round: task.round,
    device_count: task.deviceCount,
    tally: task.tally,
    options: optionsBody(task.options, task.startAtMs, task.expiresAtMs),
    created_at: time(task.createdAtMs),
    start_at: time(task.startAtMs),
    expires_at: time(task.expiresAtMs),
    started_at: timeOrNull(task.startedAtMs),
    finished_at: timeOrNull(task.finishedAtMs),
    updated_at: time(task.updatedAtMs),
  }
}

export function taskDeviceBody(device: TaskDeviceView) {
  const { late } = device
  return {
    device_id: device.serialNumber,
    site_id: device.siteId,
    state: device.state,
    attempt: device.attempt,
    command_id: device.commandId,
    ready_at: timeOrNull(device.readyAtMs),
    reason: device.reason,
    response: device.response,
    finished_at: timeOrNull(device.finishedAtMs),
    late: late === null ? null : { state: late.state, response: late.response, at: time(late.atMs) },
    updated_at: time(device.updatedAtMs),
  }
}
