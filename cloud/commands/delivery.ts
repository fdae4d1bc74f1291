/** What a command's row keeps of its way to the device. Pure. */

import { type CommandChange, type CommandState, isFinal } from '../gateways/gateways.ts'

/** What several changes come to for one command; null leaves what is stored, but for `reason`, which goes with `state`. */
export type DeliveryUpdate = {
  readonly id: string
  state: CommandState | null
  reason: string | null
  delivered_at_ms: number | null
  finished_at_ms: number | null
  /** JSON text. */
  response: string | null
  /** What came after the end: beside the outcome, never instead of it. */
  late_state: CommandState | null
  late_response: string | null
  late_at_ms: number | null
}

/** One update for each command, ascending by id. @param changes in the order in which they happened. */
export function deliveryUpdates(changes: readonly CommandChange[]): DeliveryUpdate[] {
  const updates = new Map<string, DeliveryUpdate>()
  for (const change of changes) {
    const update = updates.get(change.commandId) ?? nothingNew(change.commandId)
    updates.set(change.commandId, update)
    if (change.late) {
      update.late_state = change.to
      update.late_response = change.payload
      update.late_at_ms = change.atMs
      continue
    }
    update.state = change.to
    update.reason = change.reason
    update.response = change.payload ?? update.response
    if (change.to === 'DELIVERED') update.delivered_at_ms = change.atMs
    if (isFinal(change.to)) update.finished_at_ms = change.atMs
  }
  return [...updates.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
}

function nothingNew(id: string): DeliveryUpdate {
  return {
    id,
    state: null,
    reason: null,
    delivered_at_ms: null,
    finished_at_ms: null,
    response: null,
    late_state: null,
    late_response: null,
    late_at_ms: null,
  }
}
