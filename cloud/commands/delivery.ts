/** What a command's row keeps of its way to the device. Pure. */

import { type CommandChange, type CommandState, isFinal } from '../gateways/gateways.ts'

/** What several changes come to for one command; null leaves what is stored, but for `reason`, which goes with `state`. */
export interface DeliveryUpdate {
  readonly id: string
  state: CommandState | null
  reason: string | null
  deliveredAtMs: number | null
  finishedAtMs: number | null
  /** JSON text. */
  response: string | null
  /** What came after the end: beside the outcome, never instead of it. */
  lateState: CommandState | null
  lateResponse: string | null
  lateAtMs: number | null
}

/** One update for each command, ascending by id. @param changes in the order in which they happened. */
export function deliveryUpdates(changes: readonly CommandChange[]): DeliveryUpdate[] {
  const updates = new Map<string, DeliveryUpdate>()
  for (const change of changes) {
    const update = updates.get(change.commandId) ?? nothingNew(change.commandId)
    updates.set(change.commandId, update)
    if (change.late) {
      update.lateState = change.to
      update.lateResponse = change.payload
      update.lateAtMs = change.atMs
      continue
    }
    update.state = change.to
    update.reason = change.reason
    update.response = change.payload ?? update.response
    if (change.to === 'DELIVERED') update.deliveredAtMs = change.atMs
    if (isFinal(change.to)) update.finishedAtMs = change.atMs
  }
  return [...updates.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
}

function nothingNew(id: string): DeliveryUpdate {
  return {
    id,
    state: null,
    reason: null,
    deliveredAtMs: null,
    finishedAtMs: null,
    response: null,
    lateState: null,
    lateResponse: null,
    lateAtMs: null,
  }
}
