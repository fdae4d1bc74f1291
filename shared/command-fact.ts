/**
 * What a gateway tells of a command beside the device's own answer. It travels as a record of the priority lane on the
 * device's topic `…/commands`, on which no MQTT client may publish, so only the gateway itself can have written it.
 */

/**
 * DELIVERED: the device has it (PUBCOMP). TIMED_OUT: the device had it, or may have had it, and did not answer in time.
 * EXPIRED: it never went to the device. CANCELLED: taken back before it went to the device.
 */
export const COMMAND_FACT_STATES = ['DELIVERED', 'TIMED_OUT', 'EXPIRED', 'CANCELLED'] as const
export type CommandFactState = (typeof COMMAND_FACT_STATES)[number]

export interface CommandFact {
  readonly commandId: string
  readonly state: CommandFactState
  /** For people; absent when the state says it all. */
  readonly reason?: string
}

export function encodeCommandFact({ commandId, state, reason }: CommandFact): string {
  return JSON.stringify({ commandId, state, ...(reason === undefined ? {} : { reason }) })
}

/** The fact, or null when `text` is none that this version knows. */
export function parseCommandFact(text: string): CommandFact | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return null
  }
  if (typeof value !== 'object' || value === null) return null
  const { commandId, state, reason } = value as Partial<Record<string, unknown>>
  const known = COMMAND_FACT_STATES.find((each) => each === state)
  if (typeof commandId !== 'string' || commandId === '' || known === undefined) return null
  return { commandId, state: known, ...(typeof reason === 'string' ? { reason } : {}) }
}
