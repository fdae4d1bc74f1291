/**
 * What the cloud has of each gateway's spool, durably. Many gateways finish batches at the same time: what they want
 * stored gathers while the last transaction runs and goes into the next one together, with the gaps, the status changes and
 * the reports of commands that belong to it.
 */

import { sql, type Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import { LANES, type Lane, type SequenceRange } from '../../shared/lanes.ts'
import { addRange } from '../../shared/sequence-ranges.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { CommandReport, DeviceCommands } from '../gateways/gateways.ts'
import type { StatusChange } from '../registry/device.ts'
import type { GatewayGap } from '../registry/gateway-store.ts'
import type { Registry } from '../registry/registry.ts'

export type Received = Readonly<Record<Lane, readonly SequenceRange[]>>

export interface CursorUpdate {
  readonly gatewayId: string
  readonly epoch: string
  /** Everything received, lanes that did not change left out. */
  readonly received: Readonly<Partial<Record<Lane, readonly SequenceRange[]>>>
  readonly gaps: readonly GatewayGap[]
  readonly statuses: readonly StatusChange[]
  /** Devices that said their status again. */
  readonly repeated?: readonly number[]
  readonly reports: readonly CommandReport[]
}

export interface CursorStoreOptions {
  readonly database: DatabaseHandle
  readonly registry: Registry
  readonly commands: Pick<DeviceCommands, 'record' | 'nudge'>
  readonly clock: Clock
}

interface Waiting {
  readonly update: CursorUpdate
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** Updates in one transaction, and reports of commands unless one update alone has more: each is a row read and written. */
const GROUP_MAX = 500
const GROUP_REPORTS_MAX = 2_000

export class CursorStore {
  private readonly options: CursorStoreOptions
  private waiting: Waiting[] = []
  private writing = false

  constructor(options: CursorStoreOptions) {
    this.options = options
  }

  /** Ascending and disjoint; empty for a lane of which there is nothing. */
  async load(gatewayId: string, epoch: string): Promise<Received> {
    const rows = await this.options.database.kysely
      .selectFrom('gateway_cursors')
      .select(['lane', 'received'])
      .where('gateway_id', '=', gatewayId)
      .where('epoch', '=', epoch)
      .execute()
    const received: Record<Lane, readonly SequenceRange[]> = {
      priority: [],
      telemetry: [],
    }
    for (const row of rows) {
      const lane = LANES.find((each) => each === row.lane)
      if (lane !== undefined) received[lane] = parseRanges(row.received)
    }
    return received
  }

  /** Resolves once it is durable; updates of one gateway must come one after the other. */
  save(update: CursorUpdate): Promise<void> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ update, resolve, reject })
      if (!this.writing) void this.write()
    })
  }

  /** Never rejects: what fails is told to whoever waits for it. */
  private async write(): Promise<void> {
    this.writing = true
    while (this.waiting.length > 0) {
      const group = this.waiting.slice(0, groupLength(this.waiting))
      this.waiting = this.waiting.slice(group.length)
      await this.writeGroup(group)
    }
    this.writing = false
  }

  private async writeGroup(group: readonly Waiting[]): Promise<void> {
    try {
      await this.commit(group.map(({ update }) => update))
      for (const { resolve } of group) resolve()
    } catch (error) {
      const databaseIsDown = error instanceof BusbarError && error.retryable
      if (group.length === 1 || databaseIsDown) {
        for (const { reject } of group) reject(error)
        return
      }
      // One of them is at fault; the others must not suffer for it.
      for (const one of group) await this.writeGroup([one])
    }
  }

  private async commit(updates: readonly CursorUpdate[]): Promise<void> {
    const { registry, commands, clock } = this.options
    const updatedAtMs = clock.wallMs()
    const rows = updates.flatMap(({ gatewayId, epoch, received }) =>
      LANES.flatMap((lane) => {
        const ranges = received[lane]
        if (ranges === undefined) return []
        return [
          {
            gateway_id: gatewayId,
            epoch,
            lane,
            received: formatRanges(ranges),
            updated_at_ms: updatedAtMs,
          },
        ]
      }),
    )
    // One order for all cores, so that two transactions cannot wait for each other's rows.
    rows.sort((a, b) => (a.gateway_id < b.gateway_id ? -1 : a.gateway_id > b.gateway_id ? 1 : 0))
    const statuses = updates.flatMap((update) => update.statuses)
    const repeated = updates.flatMap((update) => update.repeated ?? [])
    const gaps = updates.flatMap((update) => update.gaps)
    const reports = updates.flatMap((update) => update.reports)
    const durable = statuses.length > 0 || gaps.length > 0 || reports.length > 0
    await this.inTransaction(durable, async (transaction) => {
      if (rows.length > 0) {
        await transaction
          .insertInto('gateway_cursors')
          .values(rows)
          .onConflict((conflict) =>
            conflict.columns(['gateway_id', 'epoch', 'lane']).doUpdateSet((row) => ({
              received: row.ref('excluded.received'),
              updated_at_ms: row.ref('excluded.updated_at_ms'),
            })),
          )
          .execute()
      }
      if (statuses.length > 0) await registry.writeStatuses(statuses, transaction)
      if (repeated.length > 0) await registry.noteRepeated(repeated, transaction)
      for (const gap of gaps) await registry.recordGap(gap, transaction)
      // The gateway deletes what is acknowledged, so what it says of a command must be as durable as the cursor.
      if (reports.length > 0) await commands.record(reports, transaction)
    })
    registry.applyStatuses(statuses)
    if (reports.length > 0) commands.nudge()
  }

  /**
   * A cursor must survive this process, not a power cut: what it covers is durable on the bus, and without it records
   * come twice at worst. So it does not wait for the disk, which on SQLite would stop the whole process each time.
   * @param durable waits for the disk, for what nobody would send again.
   */
  private async inTransaction(
    durable: boolean,
    work: (transaction: Transaction<Database>) => Promise<void>,
  ): Promise<void> {
    const { database } = this.options
    if (durable) return database.transaction(work)
    if (database.dialect === 'postgres') {
      return database.transaction(async (transaction) => {
        await sql`set local synchronous_commit = off`.execute(transaction)
        await work(transaction)
      })
    }
    await database.kysely.connection().execute(async (connection) => {
      await sql`pragma synchronous = normal`.execute(connection)
      try {
        await connection.transaction().execute(work)
      } finally {
        await sql`pragma synchronous = full`.execute(connection)
      }
    })
  }
}

/** How many of those that wait go into the next transaction; at least one. */
function groupLength(waiting: readonly Waiting[]): number {
  let reports = 0
  for (const [index, { update }] of waiting.entries()) {
    reports += update.reports.length
    if (index >= GROUP_MAX || (index > 0 && reports > GROUP_REPORTS_MAX)) return index
  }
  return waiting.length
}

/** `[[first,last],…]` */
export function formatRanges(ranges: readonly SequenceRange[]): string {
  return JSON.stringify(ranges.map(({ first, last }) => [first, last]))
}

/** @throws BusbarError CURSOR_UNREADABLE */
export function parseRanges(text: string): SequenceRange[] {
  try {
    const pairs = JSON.parse(text) as [number, number][]
    return pairs.reduce<SequenceRange[]>((ranges, [first, last]) => addRange(ranges, { first, last }), [])
  } catch (cause) {
    throw new BusbarError('a cursor in the database cannot be read', {
      code: 'CURSOR_UNREADABLE',
      hint: 'Delete the row of gateway_cursors that the log names: the gateway sends again, consumers drop duplicates.',
      cause,
    })
  }
}

/**
 * `ranges` without the holes below `oldestSequence`: what is missing there was acknowledged and its cursor lost, or is
 * lost itself, and either way it is never sent again. Without this the holes of years would add up.
 */
export function settledBelow(ranges: readonly SequenceRange[], oldestSequence: number): readonly SequenceRange[] {
  const [lowest] = ranges
  if (lowest === undefined || ranges.length === 1 || lowest.first >= oldestSequence) return ranges
  return addRange(ranges, { first: lowest.first, last: oldestSequence - 1 })
}
