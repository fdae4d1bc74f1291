/** What the cloud's messages mean in an admitted session. Pure; the rest of the session is in session.ts. */

import type { SessionResponse } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import { COMMANDS_PER_MESSAGE_MAX } from '../../shared/limits.ts'
import * as certificates from './certificate-exchange.ts'
import * as flows from './flow.ts'
import type { Flowing, SessionEffect, SessionInput, SessionRules } from './session-state.ts'
import { laneOf } from './wire.ts'

type Message = NonNullable<SessionResponse['message']>

/** The state after the cloud said something; what follows from it is pushed onto `effects`. */
export function heard(
  state: Flowing,
  { message }: SessionResponse,
  rules: SessionRules,
  effects: SessionEffect[],
): Flowing {
  switch (message?.$case) {
    case 'ack':
      return acknowledged(state, message.value, effects)
    case 'credit':
      return { ...state, flow: { ...state.flow, credit: state.flow.credit + message.value.bytes } }
    case 'commands':
    case 'commandCancellations':
      if (rules.takesCommands) takeCommands(state, message, effects)
      else effects.push({ kind: 'odd', oddity: 'unexpectedMessage' })
      return state
    case 'certificateAnswer':
      return certificates.answered(state, message.value, effects)
    default:
      effects.push({ kind: 'odd', oddity: 'unexpectedMessage' })
      return state
  }
}

/** The inbox's answer as messages that the cloud takes. */
export function receipts({ stored, refused }: Extract<SessionInput, { kind: 'commandsTaken' }>): SessionEffect[] {
  const effects: SessionEffect[] = []
  // Positions in the two lists as if the second followed the first.
  for (let from = 0; from < stored.length + refused.length; from += COMMANDS_PER_MESSAGE_MAX) {
    const to = from + COMMANDS_PER_MESSAGE_MAX
    const [refusedFrom, refusedTo] = [Math.max(0, from - stored.length), Math.max(0, to - stored.length)]
    effects.push({
      kind: 'receipts',
      stored: stored.slice(from, to),
      refused: refused.slice(refusedFrom, refusedTo),
    })
  }
  return effects
}

/**
 * While stopping, no command is taken: it would only begin work in an inbox that is about to stop, and without a receipt the
 * cloud hands it over again. A cancellation is: it takes work away, and the device may be back before it is said again.
 */
function takeCommands(
  { name, session }: Flowing,
  message: Extract<Message, { $case: 'commands' | 'commandCancellations' }>,
  effects: SessionEffect[],
): void {
  if (message.$case === 'commandCancellations') {
    const { commandIds } = message.value
    if (commandIds.length > 0) effects.push({ kind: 'cancelCommands', commandIds })
    return
  }
  const { commands } = message.value
  if (name === 'streaming' && commands.length > 0) effects.push({ kind: 'takeCommands', session, commands })
}

function acknowledged(
  state: Flowing,
  ack: Extract<Message, { $case: 'ack' }>['value'],
  effects: SessionEffect[],
): Flowing {
  const lane = laneOf(ack.lane)
  if (lane === null) {
    effects.push({ kind: 'odd', oddity: 'unknownLane' })
    return state
  }
  const { flow, acknowledged: items, sentAt } = flows.settle(state.flow, lane, ack.ranges)
  if (items.length === 0) {
    effects.push({ kind: 'odd', oddity: 'strayAck' })
    return state
  }
  const records = items.reduce((sum, item) => sum + (item.kind === 'block' ? item.recordCount : 0), 0)
  effects.push({ kind: 'acknowledge', lane, ranges: flows.rangesOf(items), records })
  if (ack.wallClockMs !== undefined) effects.push({ kind: 'cloudTime', cloudWallMs: ack.wallClockMs, since: sentAt })
  // Progress, and not merely a connection, is what makes the next backoff short again.
  return { ...state, flow, attempt: 0 }
}
