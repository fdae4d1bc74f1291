/**
 * The outbox: what is to be published is stored in the transaction of what it tells, and published afterwards by a relay. A
 * crash anywhere repeats a record, never loses one.
 */

import type { Transaction } from 'kysely'
import type { Database } from '../database/schema.ts'

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

/** Called in the transaction that marks the records as sent. */
export type PublishedListener = (
  ids: readonly string[],
  sentAtMs: number,
  transaction: Transaction<Database>,
) => Promise<void>

export class Outbox {
  /** One listener an owner, registered before the start. */
  onPublished(_ownerName: string, _listener: PublishedListener): void {
    throw new Error('not built')
  }

  /** Stores them in the caller's transaction; `nudge` once it is committed. */
  append(_records: readonly OutboxRecord[], _transaction: Transaction<Database>): Promise<void> {
    throw new Error('not built')
  }

  /** Removes what an owner has not had published yet; resolves with how many that were. */
  withdraw(_owner: { readonly name: string; readonly id: string }, _transaction: Transaction<Database>): Promise<number> {
    throw new Error('not built')
  }

  /** What was appended is committed: publish it without waiting for the next look. */
  nudge(): void {
    throw new Error('not built')
  }
}
