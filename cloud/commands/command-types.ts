/** The commands that Busbar knows, with the parameters of each; and what is checked of those it does not know. */

import { type TObject, Type } from '@sinclair/typebox'
import { type TypeCheck, TypeCompiler } from '@sinclair/typebox/compiler'
import { INSTANT_FORM } from '../../shared/instant.ts'
import { isDeeper } from '../../shared/json-depth.ts'
import { type SchemaError, schemaErrors, shortened } from '../../shared/schema-errors.ts'

/** Something wrong with a request; `pointer` leads to the member of the body that has to change. */
export type CommandProblem = SchemaError

/** The settings `commands.…` that decide what is taken. */
export interface CommandRules {
  /** Take names that are none of the known types, with any JSON as parameters. */
  readonly allowUnknownTypes: boolean
  /** Largest parameters as JSON, bytes of UTF-8; larger ones are refused. */
  readonly payloadBytesMax: number
}

/** Where a request carries name and parameters, as JSON Pointers. */
export interface CommandPlaces {
  readonly name: string
  readonly params: string
}

/** Those of POST /api/v1/commands. */
export const COMMAND_PLACES: CommandPlaces = { name: '/name', params: '/payload' }

export const COMMAND_NAME_PATTERN = /^[A-Za-z0-9._:-]{1,64}$/
export const COMMAND_NAME_FORM = '1 to 64 letters, digits, ".", "_", ":" or "-"'

/** Levels of arrays and objects in parameters: devices and consumers parse them, some with a small stack. */
export const PARAMS_DEPTH_MAX = 32
/** Registers of one READ_REGISTERS. */
const REGISTERS_MAX = 100

const closed = { additionalProperties: false }
const ReasonParams = Type.Object(
  { reason: Type.Optional(Type.String({ minLength: 1, maxLength: 200, description: 'For the device log' })) },
  closed,
)

/** Parameters by name; null stands for none where every member may be left out. */
export const COMMAND_TYPES: Readonly<Record<string, TObject>> = {
  SET_TOU: Type.Object(
    {
      tou_profile_id: Type.String({ minLength: 1, maxLength: 200, description: 'The time-of-use profile to use' }),
      effective_at: Type.Optional(Type.String({ format: 'date-time', description: INSTANT_FORM })),
    },
    closed,
  ),
  REBOOT: Type.Object(
    {
      force: Type.Optional(Type.Boolean({ description: 'Without waiting for what the device is doing' })),
      delay_seconds: Type.Optional(Type.Integer({ minimum: 0, maximum: 86_400 })),
    },
    closed,
  ),
  READ_REGISTERS: Type.Object(
    {
      registers: Type.Array(
        Type.String({
          pattern: '^[A-Za-z0-9][A-Za-z0-9._:*&/-]{0,63}$',
          description: 'an OBIS code such as 1-0:1.8.0*255, or the name of a register',
        }),
        { minItems: 1, maxItems: REGISTERS_MAX },
      ),
    },
    closed,
  ),
  SYNC_TIME: Type.Object({ max_adjust_seconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 86_400 })) }, closed),
  REMOTE_DISCONNECT: ReasonParams,
  REMOTE_RECONNECT: ReasonParams,
}

/**
 * Everything that is wrong with a command, each with its place, its value and what it may be; empty when it is right.
 * @param params as parsed from JSON; null or undefined for none.
 */
export function checkCommand(
  name: string,
  params: unknown,
  rules: CommandRules,
  places: CommandPlaces = COMMAND_PLACES,
): CommandProblem[] {
  return [...nameProblems(name, rules, places.name), ...paramsProblems(name, params ?? null, rules, places.params)]
}

function nameProblems(name: string, rules: CommandRules, pointer: string): CommandProblem[] {
  const known = Object.keys(COMMAND_TYPES).join(', ')
  if (!rules.allowUnknownTypes && !isKnown(name)) {
    return [{ pointer, value: shortened(name), remedy: `one of ${known}; others only with commands.allowUnknownTypes` }]
  }
  if (COMMAND_NAME_PATTERN.test(name)) return []
  return [{ pointer, value: shortened(name), remedy: `${COMMAND_NAME_FORM}; known are ${known}` }]
}

function paramsProblems(name: string, params: unknown, rules: CommandRules, pointer: string): CommandProblem[] {
  // Before anything that descends into them.
  if (isDeeper(params, PARAMS_DEPTH_MAX)) {
    return [{ pointer, remedy: `at most ${PARAMS_DEPTH_MAX} levels of arrays and objects` }]
  }
  const bytes = Buffer.byteLength(JSON.stringify(params))
  const { payloadBytesMax } = rules
  if (bytes > payloadBytesMax) {
    const remedy = `at most ${payloadBytesMax} bytes as JSON (commands.payloadBytesMax)`
    return [{ pointer, value: `${bytes} bytes`, remedy }]
  }
  if (!isKnown(name)) return []
  const checker = checkerOf(name)
  const nothingNeeded = (checker.Schema() as TObject).required === undefined
  if (params === null && nothingNeeded) return []
  return schemaErrors(checker, params).map((error) => ({ ...error, pointer: pointer + error.pointer }))
}

const checkers = new Map<string, TypeCheck<TObject>>()

function checkerOf(name: string): TypeCheck<TObject> {
  const known = checkers.get(name)
  if (known !== undefined) return known
  const compiled = TypeCompiler.Compile(COMMAND_TYPES[name] as TObject)
  checkers.set(name, compiled)
  return compiled
}

function isKnown(name: string): boolean {
  return Object.hasOwn(COMMAND_TYPES, name)
}
