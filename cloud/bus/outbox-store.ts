/** What the relay does with the outbox's table, each in one transaction. */

import { sql } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Outbox } from './outbox.ts'
import {
  type Claim,
  claimRows,
  isDue,
  lockClaims,
  markSent,
  type OutboxRow,
  type OwnedRow,
  purgeSent,
  releaseRows,
  removeSent,
  renewRows,
} from './outbox-rows.ts'

/** A row that the bus refuses for itself. */
export interface RefusedRow {
  readonly row: OutboxRow
  readonly error: string
  /** When it is tried again, Unix milliseconds. */
  readonly retryAtMs: number
}

/** What became of rows that were claimed. */
export interface Settlement {
  readonly stored: readonly OutboxRow[]
  readonly refused: readonly RefusedRow[]
  /** Given back, for whoever claims next. */
  readonly unsent: readonly OutboxRow[]
}

export interface ClaimRequest extends Omit<Claim, 'coreId' | 'nowMs' | 'leaseUntilMs'> {
  readonly clock: Clock
  readonly leaseMs: number
}

export interface OutboxCounts {
  /** Due and not published. */
  readonly waiting: number
  /** When the oldest of them became due, Unix milliseconds; null when there is none. */
  readonly oldestMs: number | null
  readonly setAside: number
}

export class OutboxStore {
  private readonly database: DatabaseHandle
  private readonly coreId: string

  constructor(database: DatabaseHandle, coreId: string) {
    this.database = database
    this.coreId = coreId
  }

  /** Leased rows, by id. The lease begins when it is this core's turn to claim, however long that took. */
  async claim({ clock, leaseMs, ...claim }: ClaimRequest): Promise<OutboxRow[]> {
    const { database, coreId } = this
    const { dialect } = database
    const { rows, claimedAtMs } = await database.transaction(async (transaction) => {
      await lockClaims(dialect)?.execute(transaction)
      const nowMs = clock.wallMs()
      const claimed = { claimedAtMs: clock.monotonicMs() }
      const claiming = claimRows(dialect, { ...claim, coreId, nowMs, leaseUntilMs: nowMs + leaseMs })
      return { ...claimed, ...(await claiming.execute(transaction)) }
    })
    if (clock.monotonicMs() - claimedAtMs < leaseMs) return rows.sort((a, b) => a.id - b.id)
    // Frozen or starved for so long: another core may be publishing them by now.
    const ids = rows.map(({ id }) => id)
    await releaseRows(dialect, ids, coreId).execute(database.kysely)
    return []
  }

  /** Resolves with how many of the leases are still this core's. */
  async renew(ids: readonly number[], leaseUntilMs: number): Promise<number> {
    const { database, coreId } = this
    const { numAffectedRows } = await renewRows(database.dialect, ids, coreId, leaseUntilMs).execute(database.kysely)
    return Number(numAffectedRows ?? 0)
  }

  /** Marks, tells the owners and gives back, all or nothing. Rows that another core marked before are told of once. */
  async settle(
    { stored, refused, unsent }: Settlement,
    outbox: Outbox,
    sentAtMs: number,
    keep: boolean,
  ): Promise<void> {
    const { database, coreId } = this
    const { dialect } = database
    await database.transaction(async (transaction) => {
      if (stored.length > 0) {
        const ids = stored.map(({ id }) => id)
        const marking = keep ? markSent(dialect, ids, sentAtMs) : removeSent(dialect, ids)
        const { rows } = await marking.execute(transaction)
        for (const [owner, ownerIds] of idsByOwner(rows)) {
          await outbox.publishedListener(owner)?.(ownerIds, sentAtMs, transaction)
        }
      }
      for (const { row, error, retryAtMs } of refused) {
        await transaction
          .updateTable('outbox')
          .set({ failures: row.failures + 1, error, available_at_ms: retryAtMs, lease_until_ms: null })
          .where('id', '=', row.id)
          .where('lease_by', '=', coreId)
          .where('sent_at_ms', 'is', null)
          .execute()
      }
      if (unsent.length > 0) {
        const ids = unsent.map(({ id }) => id)
        await releaseRows(dialect, ids, coreId).execute(transaction)
      }
    })
  }

  /** Removes at most `rowsMax` rows; resolves with how many. */
  async purge(beforeMs: number, rowsMax: number): Promise<number> {
    const { numAffectedRows } = await purgeSent(this.database.dialect, beforeMs, rowsMax).execute(this.database.kysely)
    return Number(numAffectedRows ?? 0)
  }

  async counts(nowMs: number, failuresMax: number): Promise<OutboxCounts> {
    const row = await this.database.kysely
      .selectFrom('outbox')
      .select([
        sql<number>`count(case when failures < ${failuresMax} and ${isDue(nowMs)} then 1 end)`.as('waiting'),
        sql<number | null>`min(case when failures < ${failuresMax} then available_at_ms end)`.as('oldest'),
        sql<number>`count(case when failures >= ${failuresMax} then 1 end)`.as('set_aside'),
      ])
      .where('sent_at_ms', 'is', null)
      .executeTakeFirstOrThrow()
    return {
      waiting: Number(row.waiting),
      oldestMs: row.oldest === null || row.oldest > nowMs ? null : row.oldest,
      setAside: Number(row.set_aside),
    }
  }
}

/** By owner, in the order in which the rows were appended, each id once. */
function idsByOwner(rows: readonly OwnedRow[]): Map<string, string[]> {
  const ids = new Map<string, Set<string>>()
  for (const { owner, owner_id } of [...rows].sort((a, b) => a.id - b.id)) {
    if (owner === null || owner_id === null) continue
    let known = ids.get(owner)
    if (known === undefined) {
      known = new Set()
      ids.set(owner, known)
    }
    known.add(owner_id)
  }
  return new Map([...ids].map(([owner, set]) => [owner, [...set]]))
}
