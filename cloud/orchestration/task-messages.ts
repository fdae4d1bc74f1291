/** The values of task.requested and orchestrator.responses, written and read. Their members are a contract with others. */

import { type Static, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { isDeeper } from '../../shared/json-depth.ts'
import { schemaErrors } from '../../shared/schema-errors.ts'
import { readJson } from '../bus/json-value.ts'
import type { Unusable } from '../bus/record-consumer.ts'
import { FINAL_STATES, type FinalState } from '../gateways/gateways.ts'
import { type RequestedOptions, TaskOptionsSchema } from './task-options.ts'

/** Largest value of task.requested: brokers take a megabyte with what surrounds it. */
export const REQUEST_BYTES_MAX = 900_000

/** Drawn by whoever asks for a task; the key of its task.requested. */
export const TASK_ID = /^[0-9a-f]{24}$/i

export interface TaskRequest {
  readonly taskId: string
  readonly commandType: string
  readonly commandParams: unknown
  /** Serial numbers, each once unless two sites have it. */
  readonly deviceIds: readonly string[]
  readonly requestedBy: string
  /** Which round of the task; 1 where the value does not say. */
  readonly round: number
  readonly siteId: number | undefined
  readonly options: RequestedOptions
}

/** The text of a task.requested: the four members of the contract, then ours. */
export function encodeRequest(request: {
  readonly commandType: string
  /** JSON text. */
  readonly commandParams: string
  readonly deviceIds: readonly string[]
  readonly requestedBy: string
  readonly options: object
  readonly round: number
  readonly siteId: number | null
}): string {
  const { commandType, commandParams, deviceIds, requestedBy, options, round, siteId } = request
  const site = siteId === null ? '' : `,"site_id":${siteId}`
  return (
    `{"command_type":${JSON.stringify(commandType)},"command_params":${commandParams},` +
    `"device_ids":${JSON.stringify(deviceIds)},"requested_by":${JSON.stringify(requestedBy)},` +
    `"options":${JSON.stringify(options)},"round":${round}${site}}`
  )
}

/** Members besides these are allowed and left alone. */
const RequestSchema = Type.Object({
  command_type: Type.String({ minLength: 1 }),
  command_params: Type.Optional(Type.Unknown()),
  // Whether there is such a device is for later: who asks for one that does not exist is answered for it.
  device_ids: Type.Array(
    Type.String({ pattern: '^[^\\x00-\\x1f\\x7f\\ud800-\\udfff]{1,128}$', description: '1 to 128 characters' }),
    { minItems: 1 },
  ),
  requested_by: Type.String({
    pattern: '^[^\\x00-\\x1f\\x7f]{1,200}$',
    description: '1 to 200 characters on one line',
  }),
  round: Type.Optional(Type.Unknown()),
  site_id: Type.Optional(Type.Integer({ minimum: 1, maximum: 999_999_999 })),
  options: Type.Optional(TaskOptionsSchema),
})
const requestChecker = TypeCompiler.Compile(RequestSchema)

export function readRequest(key: string | null, value: Buffer): TaskRequest | Unusable {
  if (key === null || !TASK_ID.test(key)) {
    return { unusable: 'KEY_INVALID', message: 'the key is not a task id of 24 hexadecimal digits' }
  }
  const parsed = readJson(value)
  if (parsed === undefined) return { unusable: 'NOT_JSON', message: 'the value is not JSON' }
  if (!requestChecker.Check(parsed)) return invalid(schemaErrors(requestChecker, parsed))
  const request: Static<typeof RequestSchema> = parsed
  const { round } = request
  return {
    taskId: key,
    commandType: request.command_type,
    commandParams: request.command_params ?? null,
    deviceIds: [...new Set(request.device_ids)],
    requestedBy: request.requested_by,
    round: Number.isSafeInteger(round) && (round as number) > 0 ? (round as number) : 1,
    siteId: request.site_id,
    options: request.options ?? {},
  }
}

/** What orchestrator.responses calls a final state. */
export const RESPONSE_STATUS = {
  SUCCEEDED: 'SUCCESS',
  FAILED: 'FAILED',
  REJECTED: 'REJECTED',
  TIMED_OUT: 'TIMEOUT',
  EXPIRED: 'EXPIRED',
  CANCELLED: 'CANCELLED',
} as const satisfies Record<FinalState, string>

const STATE_OF_STATUS = new Map<string, FinalState>(FINAL_STATES.map((state) => [RESPONSE_STATUS[state], state]))

export interface NewResponse {
  readonly taskId: string
  readonly commandId: string
  readonly serialNumber: string
  readonly outcome: FinalState
  readonly atMs: number
  /** JSON text; null when the device sent none. */
  readonly payload: string | null
  /** Told in place of a payload. */
  readonly reason: string | null
  readonly attempt: number
}

/** The text of an orchestrator.responses: the members of the contract in its order, then ours. */
export function encodeResponse(response: NewResponse): string {
  const { taskId, commandId, serialNumber, outcome, atMs, payload, reason, attempt } = response
  const shown = payload ?? JSON.stringify(reason === null ? {} : { reason })
  return (
    `{"taskId":${JSON.stringify(taskId)},"command_id":${JSON.stringify(commandId)},` +
    `"deviceId":${JSON.stringify(serialNumber)},"status":"${RESPONSE_STATUS[outcome]}",` +
    `"receivedAt":"${new Date(atMs).toISOString()}","responsePayload":${shown},"attempt":${attempt}}`
  )
}

export interface TaskResponse {
  readonly taskId: string
  readonly commandId: string
  readonly outcome: FinalState
  /** JSON text of the payload. */
  readonly payload: string
}

const ResponseSchema = Type.Object({
  taskId: Type.String({ pattern: '^[^\\x00]{1,200}$', description: '1 to 200 characters' }),
  command_id: Type.String({ pattern: '^[^\\x00]{1,200}$', description: '1 to 200 characters' }),
  deviceId: Type.String({ minLength: 1 }),
  status: Type.Union(Object.values(RESPONSE_STATUS).map((status) => Type.Literal(status))),
  responsePayload: Type.Optional(Type.Unknown()),
})
/** Levels of arrays and objects in a payload; it is written again, which takes the stack. */
const PAYLOAD_DEPTH_MAX = 64
const responseChecker = TypeCompiler.Compile(ResponseSchema)

export function readResponse(value: Buffer): TaskResponse | Unusable {
  const parsed = readJson(value)
  if (parsed === undefined) return { unusable: 'NOT_JSON', message: 'the value is not JSON' }
  if (!responseChecker.Check(parsed)) return invalid(schemaErrors(responseChecker, parsed))
  const { taskId, command_id, status, responsePayload = {} } = parsed as Static<typeof ResponseSchema>
  if (isDeeper(responsePayload, PAYLOAD_DEPTH_MAX)) {
    const remedy = `at most ${PAYLOAD_DEPTH_MAX} levels of arrays and objects`
    return invalid([{ pointer: '/responsePayload', remedy }])
  }
  return {
    taskId,
    commandId: command_id,
    outcome: STATE_OF_STATUS.get(status) as FinalState,
    payload: JSON.stringify(responsePayload),
  }
}

function invalid(errors: readonly { readonly pointer: string; readonly remedy: string }[]): Unusable {
  const named = errors.map(({ pointer, remedy }) => `${pointer === '' ? 'the value' : pointer} must be ${remedy}`)
  return { unusable: 'VALUE_INVALID', message: named.join('; ') }
}
