/** The life of a command on its way to a device: one union, one table of what may follow what. Pure. */

/**
 * QUEUED waits for its gateway, SENT is on its way to the gateway or waits there for the device, DELIVERED is with the
 * device (PUBCOMP); the others are final.
 */
export const COMMAND_STATES = [
  'QUEUED',
  'SENT',
  'DELIVERED',
  'SUCCEEDED',
  'FAILED',
  'REJECTED',
  'TIMED_OUT',
  'EXPIRED',
  'CANCELLED',
] as const
export type CommandState = (typeof COMMAND_STATES)[number]

export const FINAL_STATES = ['SUCCEEDED', 'FAILED', 'REJECTED', 'TIMED_OUT', 'EXPIRED', 'CANCELLED'] as const
export type FinalState = (typeof FINAL_STATES)[number]

export function isFinal(state: CommandState): state is FinalState {
  return (FINAL_STATES as readonly string[]).includes(state)
}
