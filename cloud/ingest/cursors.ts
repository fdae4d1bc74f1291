/**
 * What the cloud has of each gateway's spool, durably. Many gateways finish batches at the same time: what they want
 * stored gathers while the last transaction runs and goes into the next one together, with the gaps and the status
 * changes that belong to it.
 */

import { sql, type Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import { LANES, type Lane, type SequenceRange } from '../../shared/lanes.ts'
import { addRange } from '../../shared/sequence-ranges.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
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
}

interface Waiting {
  readonly update: CursorUpdate
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** Updates in one transaction. */
const GROUP_MAX = 500

export class CursorStore {
  private readonly database: DatabaseHandle
  private readonly registry: Registry
  private readonly clock: Clock
  private waiting: Waiting[] = []
  private writing = false

  constructor(options: {
    readonly database: DatabaseHandle
    readonly registry: Registry
    readonly clock: Clock
  }) {
    this.database = options.database
    this.registry = options.registry
    this.clock = options.clock
  }

  /** Ascending and disjoint; empty for a lane of which there is nothing. */
  async load(gatewayId: string, epoch: string): Promise<Received> {
    const rows = await this.database.kysely
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
      const group = this.waiting.slice(0, GROUP_MAX)
      this.waiting = this.waiting.slice(GROUP_MAX)
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
    const updatedAtMs = this.clock.wallMs()
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
    const gaps = updates.flatMap((update) => update.gaps)
    const durable = statuses.length > 0 || gaps.length > 0
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
      if (statuses.length > 0) await this.registry.writeStatuses(statuses, transaction)
      for (const gap of gaps) await this.registry.recordGap(gap, transaction)
    })
    this.registry.applyStatuses(statuses)
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
    if (durable) return this.database.transaction(work)
    if (this.database.dialect === 'postgres') {
      return this.database.transaction(async (transaction) => {
        await sql`set local synchronous_commit = off`.execute(transaction)
        await work(transaction)
      })
    }
    await this.database.kysely.connection().execute(async (connection) => {
      await sql`pragma synchronous = normal`.execute(connection)
      try {
        await connection.transaction().execute(work)
      } finally {
        await sql`pragma synchronous = full`.execute(connection)
      }
    })
  }
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
