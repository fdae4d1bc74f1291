/** What a device reads on its commands topic, and what the edge reads in its answers. */

import type { Command } from '../../proto/generated/busbar/edge/v1/uplink.ts'

/** The end of the year 9999: what comes later has no RFC 3339 form. Unix milliseconds. */
const WALL_MAX_MS = 253_402_300_799_999
const ANSWERS = new Set(['SUCCESS', 'FAILED', 'REJECTED'])

/** The MQTT payload of a command, or null when its parameters are not JSON. */
export function commandPayload(command: Command): Uint8Array | null {
  const { commandId, taskId, name, paramsJson, issuedAtMs, expiresAtMs } = command
  if (paramsJson !== '' && !isJson(paramsJson)) return null
  // The parameters go to the device as they came: parsing and writing them again would round large numbers.
  const params = paramsJson === '' ? 'null' : paramsJson
  const task = taskId === '' ? '' : `"taskId":${JSON.stringify(taskId)},`
  return Buffer.from(
    `{"commandId":${JSON.stringify(commandId)},${task}"name":${JSON.stringify(name)},"params":${params},` +
      `"issuedAt":"${rfc3339(issuedAtMs)}","expiresAt":"${rfc3339(expiresAtMs)}"}`,
  )
}

/** The id of the command that a device's message answers, or null when it is no valid answer. */
export function answeredCommand(payload: Uint8Array): string | null {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(payload).toString())
  } catch {
    return null
  }
  if (typeof value !== 'object' || value === null) return null
  const { commandId, status } = value as Partial<Record<string, unknown>>
  return typeof commandId === 'string' && typeof status === 'string' && ANSWERS.has(status) ? commandId : null
}

function rfc3339(wallMs: number): string {
  return new Date(Math.min(Math.max(wallMs, 0), WALL_MAX_MS)).toISOString()
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
