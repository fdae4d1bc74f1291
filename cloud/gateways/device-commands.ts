/** Commands on their way to devices: stored, handed to the gateways that hold the devices, followed to their end. */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { assert } from '../../shared/errors.ts'
import { deadLetterTopicOf, ORCHESTRATOR_RESPONSES } from '../bus/catalogue.ts'
import { deadLettersOf } from '../bus/dead-letter.ts'
import type { Outbox, OutboxRecord } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { FINAL_STATES, type FinalState, isFinal } from './command-state.ts'
import { type CommandStep, cancelled, reported } from './command-step.ts'
import type { ChangeListener, CommandChange, CommandOwner, CommandReport, NewDeviceCommand } from './device-command.ts'
import {
  type CommandRow,
  insertCommands,
  lockCommands,
  ROWS_PER_STATEMENT,
  writeCommands,
} from './device-command-rows.ts'

/** Longer ids than any that we draw; a report with one is for no command of ours. */
const COMMAND_ID_CHARS_MAX = 200

export class DeviceCommands {
  private readonly database: Pick<DatabaseHandle, 'dialect'>
  private readonly outbox: Outbox
  private readonly clock: Clock
  private readonly listeners = new Map<CommandOwner, ChangeListener>()
  private readonly nudgeListeners: (() => void)[] = []
  private readonly ended = Object.fromEntries(FINAL_STATES.map((state) => [state, 0])) as Record<FinalState, number>

  constructor(options: {
    readonly database: Pick<DatabaseHandle, 'dialect'>
    readonly outbox: Outbox
    readonly clock: Clock
  }) {
    this.database = options.database
    this.outbox = options.outbox
    this.clock = options.clock
  }

  /** One listener an owner, registered before the start. */
  onChanged(owner: CommandOwner, listener: ChangeListener): void {
    assert(!this.listeners.has(owner), `only one listener for the commands of ${owner}`)
    this.listeners.set(owner, listener)
  }

  /**
   * Stores them as QUEUED in the caller's transaction; `nudge` once it is committed. Rejects when one of the ids exists,
   * with an error for which `isDuplicate` holds.
   */
  async issue(commands: readonly NewDeviceCommand[], transaction: Transaction<Database>): Promise<void> {
    const nowMs = this.clock.wallMs()
    for (let start = 0; start < commands.length; start += ROWS_PER_STATEMENT) {
      const group = commands.slice(start, start + ROWS_PER_STATEMENT)
      await insertCommands(this.database.dialect, group, nowMs, transaction)
    }
  }

  /**
   * In the caller's transaction: those QUEUED end as CANCELLED (listeners are told), those with a gateway are asked back from
   * it; what a device has goes on, the final ones stay. `nudge` once it is committed.
   */
  async cancel(commandIds: readonly string[], transaction: Transaction<Database>): Promise<void> {
    const nowMs = Math.round(this.clock.wallMs())
    await this.step(commandIds, (row) => cancelled(row, nowMs), transaction)
  }

  /** What was issued, cancelled or recorded is committed: go on without waiting for the next look. */
  nudge(): void {
    this.outbox.nudge()
    for (const listener of this.nudgeListeners) listener()
  }

  /**
   * Takes reports in, in the caller's transaction; idempotent. Never rejects for what a report says: one for a command that
   * nobody knows, of another device, or from a gateway that was not given the command, is put into the outbox for
   * orchestrator.responses-dlt.
   */
  async record(reports: readonly CommandReport[], transaction: Transaction<Database>): Promise<void> {
    const nowMs = Math.round(this.clock.wallMs())
    const letters: OutboxRecord[] = []
    const byCommand = Map.groupBy(reports.filter(mayBeOurs), (report) => report.commandId)
    const unknown = new Set(reports)
    await this.step(
      [...byCommand.keys()],
      (row) => {
        const own: CommandReport[] = []
        for (const report of byCommand.get(row.command_id) ?? []) {
          unknown.delete(report)
          const doubt = doubtOf(report, row)
          if (doubt === null) own.push(report)
          else letters.push(...lettersOf(report, doubt, nowMs))
        }
        return reported(row, own, nowMs)
      },
      transaction,
    )
    for (const report of unknown) letters.push(...lettersOf(report, 'NO_COMMAND', nowMs))
    if (letters.length > 0) await this.outbox.append(letters, transaction)
  }

  /**
   * For the dispatcher: takes the step that `decide` gives for each command that exists, in the caller's transaction, and
   * tells the listeners. Gives back what the commands are that took one. `tell` once it is committed.
   */
  async step(
    commandIds: readonly string[],
    decide: (row: CommandRow) => CommandStep | null,
    transaction: Transaction<Database>,
  ): Promise<CommandRow[]> {
    const { dialect } = this.database
    const ids = [...new Set(commandIds)].sort()
    const stepped: CommandRow[] = []
    const changes: CommandChange[] = []
    const ownerOf = new Map<CommandChange, CommandOwner>()
    for (let start = 0; start < ids.length; start += ROWS_PER_STATEMENT) {
      const rows = await lockCommands(dialect, ids.slice(start, start + ROWS_PER_STATEMENT), transaction)
      const steps = [...rows.values()].map(decide).filter((step) => step !== null)
      if (steps.length === 0) continue
      const after = steps.map((step) => step.row)
      await writeCommands(dialect, after, this.clock.wallMs(), transaction)
      stepped.push(...after)
      for (const step of steps) {
        for (const change of step.changes) {
          changes.push(change)
          ownerOf.set(change, step.row.owner)
        }
      }
    }
    for (const [owner, told] of Map.groupBy(changes, (change) => ownerOf.get(change))) {
      if (owner !== undefined) await this.listeners.get(owner)?.(told, transaction)
    }
    for (const { to, late } of changes) if (!late && isFinal(to)) this.ended[to]++
    return stepped
  }

  /** For the dispatcher: steps are committed, so what the listeners put into the outbox may go. */
  tell(): void {
    this.outbox.nudge()
  }

  /** For the dispatcher. */
  onNudge(listener: () => void): void {
    this.nudgeListeners.push(listener)
  }

  /** Commands that ended through this core since its start; a transaction that had to be repeated counts twice. */
  finished(): Readonly<Record<FinalState, number>> {
    return { ...this.ended }
  }
}

/** The id comes from a device and may be anything; PostgreSQL takes no NUL, and would reject what is stored beside it too. */
function mayBeOurs({ commandId }: CommandReport): boolean {
  return commandId.length <= COMMAND_ID_CHARS_MAX && !commandId.includes('\0')
}

type Doubt = 'OTHER_DEVICE' | 'OTHER_GATEWAY'

/**
 * Why a report says nothing of this command. One that no gateway was given may have been before the database was restored from a
 * backup, so then anyone counts who may speak for the device.
 */
function doubtOf(report: CommandReport, row: CommandRow): Doubt | null {
  if (report.siteId !== row.site_id || report.serialNumber !== row.serial_number) return 'OTHER_DEVICE'
  return row.session_id === null || row.gateway_id === report.gatewayId ? null : 'OTHER_GATEWAY'
}

function lettersOf(report: CommandReport, code: Doubt | 'NO_COMMAND', atMs: number): OutboxRecord[] {
  const { gatewayId, siteId, serialNumber, value, headers } = report
  const message = {
    NO_COMMAND: 'no command has this id, or it ended so long ago that it is not kept any more',
    OTHER_DEVICE: `the command is not one of device ${serialNumber} of site ${siteId}, which answered`,
    OTHER_GATEWAY: `the command was given to another gateway than ${gatewayId}, which tells of it`,
  }[code]
  const letters = deadLettersOf(
    { topic: ORCHESTRATOR_RESPONSES, key: serialNumber, value, headers },
    { source: 'ingest', code, message, retryCount: 0, atMs },
  )
  return letters.map((letter) => ({
    topic: deadLetterTopicOf(ORCHESTRATOR_RESPONSES),
    key: letter.key,
    value: String(letter.value),
    ...(letter.headers === undefined ? {} : { headers: letter.headers }),
  }))
}
