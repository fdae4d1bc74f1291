/** A command as the API shows and takes it: in the words of command.events. */

import { Type } from '@sinclair/typebox'
import { allowed } from '../../../shared/schema-errors.ts'
import {
  COMMAND_ID_PATTERN,
  COMMAND_NAME_FORM,
  COMMAND_NAME_PATTERN,
  COMMAND_STATUSES,
  COMMAND_TYPES,
  type CommandDelivery,
  type CommandView,
  EXPIRES_IN_MS_RANGE,
  TIMEOUT_MS_RANGE,
} from '../../commands/commands.ts'
import { COMMAND_STATES } from '../../gateways/gateways.ts'
import {
  closed,
  InstantSchema,
  nullable,
  SerialNumberSchema,
  SiteIdSchema,
  TimeSchema,
  time,
  timeOrNull,
} from './common.ts'

export const CommandIdSchema = Type.String({
  pattern: COMMAND_ID_PATTERN.source,
  description: '"cmd-" and 8 hexadecimal digits',
})
export const CommandStatusSchema = Type.Union(COMMAND_STATUSES.map((status) => Type.Literal(status)))
/** Of a command on its way to a device. */
export const CommandStateSchema = Type.Union(COMMAND_STATES.map((state) => Type.Literal(state)))

const known = Object.entries(COMMAND_TYPES).map(([name, params]) => `${name}: ${allowed(params)}`)
export const CommandNameSchema = Type.String({
  pattern: COMMAND_NAME_PATTERN.source,
  description: `${COMMAND_NAME_FORM}; known are ${Object.keys(COMMAND_TYPES).join(', ')}`,
})
export const CommandParamsSchema = Type.Unknown({
  description:
    `Any JSON; null or absent for none. What the known commands take: ${known.join('. ')}. ` +
    'Other names only with the setting commands.allowUnknownTypes.',
})
export const CommandTimeoutSchema = Type.Integer({
  minimum: TIMEOUT_MS_RANGE[0],
  maximum: TIMEOUT_MS_RANGE[1],
  description: 'How long a device may take to answer, milliseconds; the setting commands.timeoutMs when absent',
})
export const ExpiresInSchema = Type.Integer({
  minimum: EXPIRES_IN_MS_RANGE[0],
  maximum: EXPIRES_IN_MS_RANGE[1],
  description: 'Milliseconds from now; instead of expires_at',
})

export const NewCommandSchema = Type.Object(
  {
    device_id: SerialNumberSchema,
    name: CommandNameSchema,
    payload: Type.Optional(CommandParamsSchema),
    site_id: Type.Optional(SiteIdSchema),
    expires_at: Type.Optional(InstantSchema),
    expires_in_ms: Type.Optional(ExpiresInSchema),
    timeout_ms: Type.Optional(CommandTimeoutSchema),
  },
  {
    ...closed,
    $id: 'NewCommand',
    description:
      'device_id is the serial number; site_id is needed only where several sites have it. Without expires_at and ' +
      'expires_in_ms it waits for its device as long as commands.expiryMs says.',
  },
)

const DeliverySchema = Type.Object(
  {
    state: CommandStateSchema,
    reason: nullable(Type.String({ description: 'For people; null when the state says it all' })),
    delivered_at: nullable(TimeSchema),
    finished_at: nullable(TimeSchema),
    response: Type.Unknown({ description: 'What the device sent with its answer; null for nothing' }),
    late: nullable(
      Type.Object(
        { state: CommandStateSchema, response: Type.Unknown(), at: TimeSchema },
        { ...closed, description: 'What came after the end, which it does not change' },
      ),
    ),
  },
  { ...closed, $id: 'CommandDelivery', description: 'The way of a command to its device, and what came back' },
)

export const CommandSchema = Type.Object(
  {
    id: CommandIdSchema,
    device_id: SerialNumberSchema,
    site_id: nullable(SiteIdSchema),
    name: CommandNameSchema,
    payload: Type.Unknown({ description: 'Any JSON; null for none' }),
    status: CommandStatusSchema,
    created_at: TimeSchema,
    sent_at: nullable(TimeSchema),
    expires_at: TimeSchema,
    updated_at: TimeSchema,
    delivery: nullable(DeliverySchema),
  },
  {
    ...closed,
    $id: 'Command',
    description:
      'A command to one device. status: pending until command.events has it (sent_at), then sent. delivery is null ' +
      'when the device is not registered.',
  },
)

export function commandBody(command: CommandView) {
  return {
    id: command.id,
    device_id: command.deviceId,
    site_id: command.siteId,
    name: command.name,
    payload: command.payload,
    status: command.status,
    created_at: time(command.createdAtMs),
    sent_at: timeOrNull(command.sentAtMs),
    expires_at: time(command.expiresAtMs),
    updated_at: time(command.updatedAtMs),
    delivery: command.delivery === null ? null : deliveryBody(command.delivery),
  }
}

function deliveryBody(delivery: CommandDelivery) {
  const { late } = delivery
  return {
    state: delivery.state,
    reason: delivery.reason,
    delivered_at: timeOrNull(delivery.deliveredAtMs),
    finished_at: timeOrNull(delivery.finishedAtMs),
    response: delivery.response,
    late: late === null ? null : { state: late.state, response: late.response, at: time(late.atMs) },
  }
}
