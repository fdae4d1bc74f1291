/**
 * `command.created` of command.events, a contract with programs that others wrote. The schema below is what the service
 * checks before it stores an event, and what the published files in proto/ are generated from.
 */

import { type Static, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import '../../shared/instant.ts'
import { assert } from '../../shared/errors.ts'
import { SERIAL_NUMBER_PATTERN } from '../../shared/mqtt-topics.ts'
import { COMMAND_NAME_FORM, COMMAND_NAME_PATTERN } from './command-types.ts'

export const COMMAND_CREATED = 'command.created'
/** Of single commands; unique in the store. */
export const COMMAND_ID_PATTERN = /^cmd-[0-9a-f]{8}$/

export const CommandCreatedSchema = Type.Object(
  {
    type: Type.Literal(COMMAND_CREATED, {
      description: 'Names the kind and version of the event; skip the types that you do not know',
    }),
    id: Type.String({
      pattern: COMMAND_ID_PATTERN.source,
      description: 'Id of the command, also the key of the record; an event may come twice, always with the same id',
    }),
    device_id: Type.String({
      pattern: SERIAL_NUMBER_PATTERN.source,
      description: 'Serial number of the device: 1 to 64 letters, digits, ".", "_", ":" or "-"',
    }),
    name: Type.String({ pattern: COMMAND_NAME_PATTERN.source, description: `What to do: ${COMMAND_NAME_FORM}` }),
    payload: Type.Unknown({ description: 'Parameters of the command, any JSON; null for none' }),
    created_at: Type.String({ format: 'date-time', description: 'When the command was taken in, RFC 3339, in UTC' }),
  },
  {
    $id: 'CommandCreated',
    title: 'A command was created',
    description: 'Value of the topic command.events. Further members may be added; ignore those that you do not know',
    additionalProperties: true,
    examples: [
      {
        type: COMMAND_CREATED,
        id: 'cmd-1a2b3c4d',
        device_id: 'dev-xyz',
        name: 'reboot',
        payload: { force: true },
        created_at: '2025-01-01T12:00:00+00:00',
      },
    ],
  },
)
export type CommandCreated = Static<typeof CommandCreatedSchema>

/** The value of the record, its members in the contract's order. */
export function commandCreated(command: {
  readonly id: string
  readonly deviceId: string
  readonly name: string
  readonly payload: unknown
  /** Unix milliseconds. */
  readonly createdAtMs: number
}): string {
  const event: CommandCreated = {
    type: COMMAND_CREATED,
    id: command.id,
    device_id: command.deviceId,
    name: command.name,
    payload: command.payload,
    created_at: contractTime(command.createdAtMs),
  }
  checker ??= TypeCompiler.Compile(CommandCreatedSchema)
  assert(checker.Check(event), 'what was accepted fits the published schema')
  return JSON.stringify(event)
}

let checker: ReturnType<typeof TypeCompiler.Compile<typeof CommandCreatedSchema>> | undefined

/** As the contract writes it: whole seconds, and the offset of UTC in digits. */
function contractTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}+00:00`
}
