/**
 * Hands commands to the sessions of this core's gateways. A command is marked as SENT to a session before it goes down, so
 * that after a crash in between the gateway's next session, on whichever core, gets it once more; the gateway drops what it
 * has already.
 */

import type { Clock } from '../../shared/clock.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { askedBack, type CommandStep, handedOver, refused, stored } from './command-step.ts'
import { CommandWindows } from './command-windows.ts'
import { commandBatches, type OutgoingCommand } from './command-wire.ts'
import type { CommandRow } from './device-command-rows.ts'
import type { DeviceCommands } from './device-commands.ts'
import { type DueCommand, selectAwaited, selectCancellations, selectDue, selectOrders } from './dispatch-queries.ts'
import type { GatewayReceipts, Gateways, OpenSession } from './gateways.ts'
import type { Isolation } from './isolation.ts'

export interface HandOverOptions {
  readonly database: DatabaseHandle
  readonly gateways: Pick<Gateways, 'openSessions'>
  readonly commands: DeviceCommands
  readonly isolation: Isolation
  readonly windowCommands: number
  readonly answerGraceMs: number
  readonly refusedPauseMs: number
  readonly unansweredMs: number
  readonly cancelRepeatMs: number
  readonly clock: Clock
  readonly log: Logger
}

interface Receipt {
  readonly commandId: string
  readonly gatewayId: string
  readonly sessionId: string
  readonly stored: boolean
}

/** Commands of one transaction. */
const GROUP_MAX = 500
/** Sessions that share one transaction; the others come in the next ones. */
const SESSIONS_MAX = 50
/** Transactions in one turn; what is left is for the next one, which comes at once. */
const GROUPS_A_TURN = 10
/** Parameters on the way to one gateway, and held by this process for one transaction. */
const WINDOW_BYTES_MAX = 1024 * 1024
const GROUP_BYTES_MAX = 4 * 1024 * 1024
/** Receipts that wait for the database; what is beyond it is handed over, and receipted, again. */
const RECEIPTS_MAX = 100_000

export class HandOver {
  private readonly options: HandOverOptions
  private readonly windows: CommandWindows
  /** By command; the latest word of its gateway. */
  private receipts = new Map<string, Receipt>()
  private servedThrough = ''

  constructor(options: HandOverOptions) {
    this.options = options
    this.windows = new CommandWindows({
      commandsMax: options.windowCommands,
      bytesMax: WINDOW_BYTES_MAX,
      patienceMs: options.unansweredMs,
    })
  }

  /** Only noted here; `settleReceipts` stores it. */
  receipted(gatewayId: string, sessionId: string, { stored, refused }: GatewayReceipts): void {
    const { clock, refusedPauseMs } = this.options
    this.windows.receipted(gatewayId, [...stored, ...refused])
    // It takes nothing at all now, so the others would fare no better.
    if (stored.length === 0 && refused.length > 0) {
      this.windows.pause(gatewayId, sessionId, clock.monotonicMs() + refusedPauseMs)
    }
    for (const commandId of stored) this.note({ commandId, gatewayId, sessionId, stored: true })
    for (const commandId of refused) this.note({ commandId, gatewayId, sessionId, stored: false })
  }

  /** Stores what gateways receipted; what the database does not take now waits for the next turn. */
  async settleReceipts(): Promise<void> {
    const { isolation } = this.options
    while (this.receipts.size > 0) {
      // Of what cannot be worked on: its gateway will be asked again.
      for (const commandId of isolation.except()) this.receipts.delete(commandId)
      const group = [...this.receipts.values()].slice(0, GROUP_MAX)
      await isolation.each(
        group,
        (receipt) => receipt.commandId,
        (receipts) => this.storeReceipts(receipts),
      )
      for (const receipt of group) {
        if (this.receipts.get(receipt.commandId) === receipt) this.receipts.delete(receipt.commandId)
      }
      // SQLite answers at once: without this nothing else would be done between two groups.
      await nextTurn()
    }
  }

  /** True when there may be more to hand over at once. */
  async handOverDue(): Promise<boolean> {
    const { database, gateways, isolation, clock, refusedPauseMs, unansweredMs } = this.options
    const { kysely, dialect } = database
    for (let groups = 0; groups < GROUPS_A_TURN; groups++) {
      const sessions = gateways.openSessions()
      this.windows.follow(sessions, clock.monotonicMs())
      const ready = sessions.filter(({ gatewayId }) => this.windows.space(gatewayId) > 0)
      if (ready.length === 0) return false
      const request = { nowMs: clock.wallMs(), refusedPauseMs, unansweredMs, except: isolation.except() }
      const awaited = await selectAwaited(kysely, dialect, ready, request)
      if (awaited.length === 0) return false
      const due = await selectDue(kysely, dialect, this.shares(awaited), request)
      await isolation.each(
        this.fitting(due),
        (command) => command.commandId,
        (group) => this.handOver(group),
      )
      await nextTurn()
    }
    return true
  }

  /** True when there may be more. */
  async askBack(): Promise<boolean> {
    const { database, gateways, isolation, clock, cancelRepeatMs } = this.options
    const sessions = gateways.openSessions()
    if (sessions.length === 0) return false
    const due = await selectCancellations(database.kysely, database.dialect, {
      held: sessions,
      nowMs: clock.wallMs(),
      repeatMs: cancelRepeatMs,
      except: isolation.except(),
      limit: GROUP_MAX,
    })
    await isolation.each(
      due,
      (command) => command.commandId,
      (group) => this.askGroupBack(group),
    )
    return due.length === GROUP_MAX
  }

  private note(receipt: Receipt): void {
    if (this.receipts.size < RECEIPTS_MAX || this.receipts.has(receipt.commandId)) {
      this.receipts.set(receipt.commandId, receipt)
    }
  }

  private async storeReceipts(receipts: readonly Receipt[]): Promise<void> {
    const nowMs = Math.round(this.options.clock.wallMs())
    const receiptOf = new Map(receipts.map((receipt) => [receipt.commandId, receipt]))
    await this.step([...receiptOf.keys()], (row) => {
      const receipt = receiptOf.get(row.command_id)
      if (receipt === undefined) return null
      return receipt.stored ? stored(row, receipt.gatewayId, nowMs) : refused(row, receipt.sessionId, nowMs)
    })
  }

  /** Who gets how many in the next transaction; those that were left out are the first ones next time. */
  private shares(awaited: readonly OpenSession[]): (OpenSession & { readonly space: number })[] {
    const byId = [...awaited].sort((a, b) => (a.gatewayId < b.gatewayId ? -1 : 1))
    const first = byId.findIndex(({ gatewayId }) => gatewayId > this.servedThrough)
    const served = [...byId.slice(first), ...byId.slice(0, Math.max(0, first))].slice(0, SESSIONS_MAX)
    this.servedThrough = served.at(-1)?.gatewayId ?? ''
    const share = Math.floor(GROUP_MAX / served.length)
    return served.map((session) => ({ ...session, space: Math.min(share, this.windows.space(session.gatewayId)) }))
  }

  /** Those that go out now: of large ones fewer, but of each gateway one at least. */
  private fitting(due: readonly DueCommand[]): DueCommand[] {
    const spaceOf = new Map<string, number>()
    let groupSpace = GROUP_BYTES_MAX
    return due.filter(({ gatewayId, bytes }) => {
      const space = spaceOf.get(gatewayId) ?? this.windows.byteSpace(gatewayId)
      if (space <= 0 || groupSpace <= 0) return false
      spaceOf.set(gatewayId, space - bytes)
      groupSpace -= bytes
      return true
    })
  }

  private async handOver(group: readonly DueCommand[]): Promise<void> {
    const { database, commands, clock, answerGraceMs } = this.options
    const nowMs = Math.round(clock.wallMs())
    const dueOf = new Map(group.map((command) => [command.commandId, command]))
    const outgoing = await database.transaction(async (transaction): Promise<OutgoingCommand[]> => {
      const rows = await commands.step(
        [...dueOf.keys()],
        (row) => handedOver(row, dueOf.get(row.command_id) as DueCommand, answerGraceMs, nowMs),
        transaction,
      )
      const orders = await selectOrders(
        transaction,
        database.dialect,
        rows.map((row) => row.command_id),
      )
      return rows.flatMap((row) => {
        const order = orders.get(row.command_id)
        return order === undefined ? [] : [{ row, order }]
      })
    })
    commands.tell()
    this.send(outgoing, dueOf)
  }

  /** Marked is marked: one that does not go down here is handed over again by the next session, or when nothing is heard. */
  private send(outgoing: readonly OutgoingCommand[], dueOf: ReadonlyMap<string, DueCommand>): void {
    const sentAtMs = this.options.clock.monotonicMs()
    this.eachSession(
      outgoing,
      ({ row }) => row,
      (session, mine) => {
        for (const { row } of mine) {
          const bytes = dueOf.get(row.command_id)?.bytes ?? 0
          this.windows.sent(session.gatewayId, session.sessionId, row.command_id, bytes, sentAtMs)
        }
        const oldestFirst = [...mine].sort(byIssue)
        for (const batch of commandBatches(oldestFirst)) session.downlink.sendCommands(batch)
      },
    )
  }

  private async askGroupBack(group: readonly Omit<DueCommand, 'bytes'>[]): Promise<void> {
    const nowMs = Math.round(this.options.clock.wallMs())
    const sessionOf = new Map(group.map(({ commandId, sessionId }) => [commandId, sessionId]))
    const rows = await this.step([...sessionOf.keys()], (row) =>
      askedBack(row, sessionOf.get(row.command_id) as string, nowMs),
    )
    this.eachSession(
      rows,
      (row) => ({ gateway_id: row.gateway_id, session_id: row.cancel_session_id }),
      (session, mine) => session.downlink.cancelCommands(mine.map((row) => row.command_id)),
    )
  }

  private async step(
    ids: readonly string[],
    decide: (row: CommandRow) => CommandStep | null,
  ): Promise<readonly CommandRow[]> {
    const { database, commands } = this.options
    const rows = await database.transaction((transaction) => commands.step(ids, decide, transaction))
    commands.tell()
    return rows
  }

  private eachSession<T>(
    items: readonly T[],
    addressOf: (item: T) => Pick<CommandRow, 'gateway_id' | 'session_id'>,
    send: (session: OpenSession, items: readonly T[]) => void,
  ): void {
    const { gateways, log } = this.options
    const sessions = new Map(gateways.openSessions().map((session) => [session.sessionId, session]))
    for (const [sessionId, mine] of Map.groupBy(items, (item) => addressOf(item).session_id ?? '')) {
      const session = sessions.get(sessionId)
      if (session === undefined) continue
      try {
        send(session, mine)
      } catch (error) {
        log.warn({ gatewayId: session.gatewayId, error: messageOf(error) }, 'commands did not go down; trying again')
      }
    }
  }
}

function byIssue(a: OutgoingCommand, b: OutgoingCommand): number {
  return a.order.issuedAtMs - b.order.issuedAtMs || (a.row.command_id < b.row.command_id ? -1 : 1)
}
