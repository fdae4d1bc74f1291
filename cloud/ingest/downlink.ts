/** The way down to one gateway, for whoever hands commands over. */

import { status } from '@grpc/grpc-js'
import type { Command, CommandReceipts } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Downlink } from '../gateways/gateways.ts'
import type { UplinkCall } from './uplink-call.ts'

export class GatewayDownlink implements Downlink {
  private readonly call: Pick<UplinkCall, 'send' | 'end'>
  /**
   * Handed over in this session and not answered, and how often: of a command that went down twice the second answer counts
   * as well, since the first may say that it was refused. Whoever hands over bounds their number.
   */
  private readonly unanswered = new Map<string, number>()

  constructor(call: Pick<UplinkCall, 'send' | 'end'>) {
    this.call = call
  }

  sendCommands(commands: readonly Command[]): void {
    for (const { commandId } of commands) this.unanswered.set(commandId, (this.unanswered.get(commandId) ?? 0) + 1)
    this.call.send({ message: { $case: 'commands', value: { commands: [...commands] } } })
  }

  cancelCommands(commandIds: readonly string[]): void {
    this.call.send({ message: { $case: 'commandCancellations', value: { commandIds: [...commandIds] } } })
  }

  end(reason: string): void {
    this.call.end({ code: status.ABORTED, details: reason })
  }

  /** Those of `receipts` that answer what was handed over in this session; others say nothing, least of all of other gateways. */
  answered({ stored, refused }: CommandReceipts): CommandReceipts {
    const isAnswer = (commandId: string): boolean => this.takeAnswer(commandId)
    return { stored: stored.filter(isAnswer), refused: refused.filter(isAnswer) }
  }

  private takeAnswer(commandId: string): boolean {
    const times = this.unanswered.get(commandId) ?? 0
    if (times > 1) this.unanswered.set(commandId, times - 1)
    else this.unanswered.delete(commandId)
    return times > 0
  }
}
