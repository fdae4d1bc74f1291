/** The values of `task.requested` and `orchestrator.responses`: the contract with whoever produces or reads them. */

import { Type } from '@sinclair/typebox'
import { TaskOptionsSchema } from '../../orchestration/orchestration.ts'
import { SiteIdSchema } from '../schemas/common.ts'
import { TaskIdSchema } from '../schemas/task.ts'

// Open objects: a message may carry more members than these, never fewer.

export const TaskRequestedSchema = Type.Object(
  {
    command_type: Type.String({ description: 'What the devices are to do, such as SET_TOU' }),
    command_params: Type.Unknown({ description: 'Its parameters; null for none' }),
    device_ids: Type.Array(Type.String({ minLength: 1, maxLength: 128 }), {
      minItems: 1,
      description: 'Serial numbers; one that no device has is answered with REJECTED',
    }),
    requested_by: Type.String({ minLength: 1, maxLength: 200 }),
    options: Type.Optional(TaskOptionsSchema),
    round: Type.Optional(
      Type.Integer({ minimum: 1, description: 'Higher when a task is tried again for the devices that failed' }),
    ),
    site_id: Type.Optional({ ...SiteIdSchema, description: 'Where the devices are, if all are at one site' }),
  },
  {
    $id: 'TaskRequested',
    description: 'A task over many devices is to be executed; anybody may produce one under a task id of its own',
  },
)

export const OrchestratorResponseSchema = Type.Object(
  {
    taskId: TaskIdSchema,
    command_id: Type.String({ description: 'Of the last attempt; a record that comes twice has the same' }),
    // Of a foreign request: it need not be one that a device can have.
    deviceId: Type.String({ minLength: 1, maxLength: 128, description: 'Serial number, as it was asked for' }),
    status: Type.Union(
      ['SUCCESS', 'FAILED', 'REJECTED', 'TIMEOUT', 'EXPIRED', 'CANCELLED'].map((status) => Type.Literal(status)),
    ),
    receivedAt: Type.String({ format: 'date-time', description: 'When the gateway got it, RFC 3339, UTC' }),
    responsePayload: Type.Unknown({
      description: 'What the device sent, such as {"dlmsResultCode":0,"deviceTime":"…"}; otherwise the reason',
    }),
    attempt: Type.Optional(Type.Integer({ minimum: 0, description: 'Commands it took in this round' })),
  },
  { $id: 'OrchestratorResponse', description: 'What became of one device of a task, once a round' },
)
