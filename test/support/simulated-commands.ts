/**
 * The commands of a simulated uplink: a cloud that hands over again what it has no receipt for, and an inbox that answers
 * when it is told to. What an honest pair must never see throws.
 */

import type { SessionEffect } from '../../edge/uplink/session-state.ts'
import type { Command, SessionResponse } from '../../proto/generated/busbar/edge/v1/uplink.ts'

type Taken = Extract<SessionEffect, { kind: 'takeCommands' }>
type Receipts = Extract<SessionEffect, { kind: 'receipts' }>

export class SimulatedCommands {
  /** Issued in the cloud, in order. */
  readonly issued: string[] = []
  /** The cloud has a receipt for them. */
  readonly receipted = new Set<string>()
  /** In the inbox, which outlives sessions. */
  readonly stored = new Set<string>()
  readonly cancelled = new Set<string>()
  /** Waiting for the inbox's disk, of whichever session. */
  taken: Taken[] = []
  /** On the way down, or down, in this session, without a receipt. */
  private readonly handed = new Map<string, number>()

  /** Commands for the gateway: those without a receipt that are not on their way, and `fresh` new ones. */
  handOver(fresh: number): SessionResponse['message'] {
    for (let i = 0; i < fresh; i++) this.issued.push(`cmd-${this.issued.length}`)
    const ids = this.issued.filter((id) => !this.receipted.has(id) && !this.handed.has(id))
    for (const id of ids) this.handed.set(id, (this.handed.get(id) ?? 0) + 1)
    return { $case: 'commands', value: { commands: ids.map(plainCommand) } }
  }

  get isSettled(): boolean {
    return this.issued.every((id) => this.receipted.has(id))
  }

  take(effect: Taken, session: number): void {
    if (effect.session !== session) throw new Error('commands were taken in the name of another session')
    this.taken.push(effect)
  }

  /** The inbox answers for one message of those that it was given; every `refuseEach`th command is refused. */
  answer(index: number, refuseEach: number): { session: number; stored: string[]; refused: string[] } | null {
    const [taken] = this.taken.splice(index % Math.max(1, this.taken.length), 1)
    if (taken === undefined) return null
    const ids = taken.commands.map(({ commandId }) => commandId)
    const isRefused = (at: number): boolean => refuseEach > 0 && at % refuseEach === 0
    const refused = ids.filter((id, at) => isRefused(at) && !this.stored.has(id))
    const stored = ids.filter((id) => !refused.includes(id))
    for (const id of stored) this.stored.add(id)
    return { session: taken.session, stored, refused }
  }

  /** Receipts that the cloud got in this session. */
  receive({ stored, refused }: Receipts): void {
    for (const id of [...stored, ...refused]) {
      if (!this.handed.delete(id)) throw new Error(`a receipt for ${id}, which was not handed over in this session`)
    }
    for (const id of stored) {
      if (!this.stored.has(id)) throw new Error(`a receipt for ${id}, which the inbox does not have`)
      this.receipted.add(id)
    }
  }

  /** The session is over. */
  forgetSession(): void {
    this.handed.clear()
  }
}

export function plainCommand(commandId: string): Command {
  return {
    commandId,
    taskId: '',
    siteId: 1,
    serialNumber: 'INV-001',
    name: 'REBOOT',
    paramsJson: '',
    issuedAtMs: 0,
    expiresAtMs: 1_000,
    timeoutMs: 1_000,
  }
}
