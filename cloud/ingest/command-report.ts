/** What records say of commands: the answers of devices, and the facts that the gateway itself has to tell. */

import { COMMAND_FACT_STATES, parseCommandFact } from '../../shared/command-fact.ts'
import { isDeeper } from '../../shared/json-depth.ts'
import { COMMAND_ID_PATTERN } from '../../shared/limits.ts'
import { storableReason } from '../database/stored-text.ts'
import type { CommandReport } from '../gateways/gateways.ts'
import { isRejection, type JsonObject, memberText, parseJsonObject, type Rejection } from './json-object.ts'

/** The part of a report that the payload says. */
export type ReportedCommand = Pick<CommandReport, 'commandId' | 'state' | 'payload' | 'reason'>

const ANSWERS = { SUCCESS: 'SUCCEEDED', FAILED: 'FAILED', REJECTED: 'REJECTED' } as const
/** Characters of a value that a message shows. */
const SHOWN_LENGTH_MAX = 64
/** Levels of arrays and objects in what a device answers with; whoever reads it may have a small stack. */
const PAYLOAD_DEPTH_MAX = 64
const TOO_DEEP = `what the device sent has more than ${PAYLOAD_DEPTH_MAX} levels of arrays and objects, and is not kept`

/** The device's answer in a payload of `…/responses`, or why there is none. */
export function readResponse(payload: Buffer): ReportedCommand | Rejection {
  const parsed = parseReport(payload)
  if (isRejection(parsed)) return parsed
  const { commandId, status } = parsed.fields
  if (!isCommandId(commandId)) return badCommandId(commandId)
  const answer = Object.keys(ANSWERS).find((each): each is keyof typeof ANSWERS => each === status)
  if (answer === undefined) {
    const message = `"status" must be ${Object.keys(ANSWERS).join(', ')}, and is ${shown(status)}: correct the device`
    return { code: 'BAD_RESPONSE_STATUS', message }
  }
  // The answer counts all the same: without it the command would have no end but a wrong one.
  if (isDeeper(parsed.fields['payload'], PAYLOAD_DEPTH_MAX)) {
    return { commandId, state: ANSWERS[answer], payload: null, reason: TOO_DEEP }
  }
  const sent = memberText(parsed.text, 'payload')
  return { commandId, state: ANSWERS[answer], payload: sent === 'null' ? null : sent, reason: null }
}

/** The gateway's fact in a payload of `…/commands`, or why there is none. */
export function readCommandFact(payload: Buffer): ReportedCommand | Rejection {
  const parsed = parseReport(payload)
  if (isRejection(parsed)) return parsed
  const { commandId, state } = parsed.fields
  if (!isCommandId(commandId)) return badCommandId(commandId)
  const fact = parseCommandFact(parsed.text)
  if (fact === null) {
    const known = COMMAND_FACT_STATES.join(', ')
    const message = `"state" must be ${known}, and is ${shown(state)}: a newer gateway may know more, update the cloud`
    return { code: 'BAD_COMMAND_STATE', message }
  }
  return { commandId, state: fact.state, payload: null, reason: storableReason(fact.reason) }
}

function parseReport(payload: Buffer): JsonObject | Rejection {
  const parsed = parseJsonObject(payload)
  if (!isRejection(parsed) || parsed.code !== 'BATCH_TOO_LARGE') return parsed
  return { code: 'NOT_AN_OBJECT', message: 'the payload is an array: send one object for one command' }
}

function isCommandId(value: unknown): value is string {
  return typeof value === 'string' && COMMAND_ID_PATTERN.test(value)
}

function badCommandId(value: unknown): Rejection {
  const message = `"commandId" must be the id that the command came with, and is ${shown(value)}: answer with that id`
  return { code: 'BAD_COMMAND_ID', message }
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'missing'
  return text.length > SHOWN_LENGTH_MAX ? `${text.slice(0, SHOWN_LENGTH_MAX)}…` : text
}
