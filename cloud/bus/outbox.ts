/**
 * The outbox: what is to be published is stored in the transaction of what it tells, and published afterwards by a relay
 * (outbox-relay.ts). A crash anywhere repeats a record, never loses one.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { assert } from '../../shared/errors.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { insertRows } from './outbox-rows.ts'

export interface OutboxRecord {
  readonly topic: string
  readonly key: string | null
  /** JSON text. */
  readonly value: string
  readonly headers?: Readonly<Record<string, string>>
  /** Who is told that it was published. */
  readonly owner?: { readonly name: string; readonly id: string }
  /** Not published before, Unix milliseconds; at once when absent. */
  readonly availableAtMs?: number
}

/** Called in the transaction that marks the records as sent. It may run again, so it has no effect outside of that. */
export type PublishedListener = (
  ids: readonly string[],
  sentAtMs: number,
  transaction: Transaction<Database>,
) => Promise<void>

export interface OutboxOptions {
  readonly database: Pick<DatabaseHandle, 'dialect'>
  readonly clock: Clock
}

/** Rows of one insert; what is more goes into further ones of the same transaction. */
const ROWS_PER_STATEMENT = 500

export class Outbox {
  private readonly options: OutboxOptions
  private readonly publishedListeners = new Map<string, PublishedListener>()
  private readonly nudgeListeners: (() => void)[] = []

  constructor(options: OutboxOptions) {
    this.options = options
  }

  /** One listener an owner, registered before the start. */
  onPublished(ownerName: string, listener: PublishedListener): void {
    assert(!this.publishedListeners.has(ownerName), `only one listener for the outbox records of ${ownerName}`)
    this.publishedListeners.set(ownerName, listener)
  }

  /** Stores them in the caller's transaction, in this order; `nudge` once it is committed. */
  async append(records: readonly OutboxRecord[], transaction: Transaction<Database>): Promise<void> {
    const { database, clock } = this.options
    const nowMs = clock.wallMs()
    for (let i = 0; i < records.length; i += ROWS_PER_STATEMENT) {
      const rows = records.slice(i, i + ROWS_PER_STATEMENT)
      await insertRows(database.dialect, rows, nowMs).execute(transaction)
    }
  }

  /**
   * Removes what an owner has not had published yet; resolves with how many that were. One that was handed to the bus
   * stays, also when nobody knows whether the bus has it: it may be on its topic already.
   */
  async withdraw(
    owner: { readonly name: string; readonly id: string },
    transaction: Transaction<Database>,
  ): Promise<number> {
    const { numDeletedRows } = await transaction
      .deleteFrom('outbox')
      .where('owner', '=', owner.name)
      .where('owner_id', '=', owner.id)
      .where('sent_at_ms', 'is', null)
      .where('lease_by', 'is', null)
      .executeTakeFirst()
    return Number(numDeletedRows)
  }

  /** What was appended is committed: publish it without waiting for the next look. */
  nudge(): void {
    for (const listener of this.nudgeListeners) listener()
  }

  /** For the relay. */
  onNudge(listener: () => void): void {
    this.nudgeListeners.push(listener)
  }

  /** For the relay. */
  publishedListener(ownerName: string): PublishedListener | undefined {
    return this.publishedListeners.get(ownerName)
  }
}
