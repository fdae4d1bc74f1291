/**
 * Takes dead letters into the database. Nothing that stands on a dead-letter topic may stop this consumer, nor become a dead
 * letter again: what the database refuses is listed without its contents. Only a database that is away makes it wait.
 */

import type { Insertable } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { ConsumedBatch } from '../bus/bus.ts'
import { isAway } from '../bus/isolation.ts'
import type { DeadLettersTable } from '../database/schema.ts'
import { toRow } from './dead-letter-rows.ts'
import type { DeadLetterStore } from './dead-letter-store.ts'
import { CODE_UNREADABLE, readLetter } from './letter.ts'

type Row = Insertable<DeadLettersTable>

/** Rows and bytes of values of one statement, which on SQLite nothing else can run beside. */
const ROWS_MAX = 100
const BYTES_MAX = 2 * 1024 * 1024

export interface DeadLetterIndexOptions {
  readonly store: Pick<DeadLetterStore, 'insert'>
  readonly valueBytesMax: number
  readonly clock: Clock
  readonly log: Logger
}

export class DeadLetterIndex {
  private readonly options: DeadLetterIndexOptions
  private readonly counts = { indexed: 0, unreadable: 0, unlisted: 0 }

  constructor(options: DeadLetterIndexOptions) {
    this.options = options
  }

  /** Resolves when all of it is in the database; idempotent. Rejects only when the database is away. */
  async take(batch: ConsumedBatch): Promise<void> {
    const { valueBytesMax, clock } = this.options
    let rows: Row[] = []
    let bytes = 0
    for (const record of batch.records) {
      const row = toRow(readLetter(record, valueBytesMax, clock.wallMs()))
      rows.push(row)
      bytes += row.value?.length ?? 0
      if (rows.length < ROWS_MAX && bytes < BYTES_MAX) continue
      await this.insert(rows)
      await nextTurn()
      rows = []
      bytes = 0
    }
    if (rows.length > 0) await this.insert(rows)
  }

  stats(): { readonly indexed: number; readonly unreadable: number; readonly unlisted: number } {
    return { ...this.counts }
  }

  private async insert(rows: readonly Row[]): Promise<void> {
    try {
      this.count(await this.options.store.insert(rows))
      for (const { code } of rows) if (code === CODE_UNREADABLE) this.counts.unreadable++
    } catch (error) {
      if (isAway(error)) throw error
      for (const row of rows) await this.insertAlone(row)
    }
  }

  /** Partitions are taken side by side, so the sum is not read before the insert. */
  private count(inserted: number): void {
    this.counts.indexed += inserted
  }

  private async insertAlone(row: Row): Promise<void> {
    const { store, log } = this.options
    const { id } = row
    try {
      this.count(await store.insert([row]))
    } catch (error) {
      if (isAway(error)) throw error
      log.error({ id, error: messageOf(error) }, 'a dead letter is listed without its contents')
      this.counts.unreadable++
      const bare = store.insert([withoutContents(row)]).then((inserted) => this.count(inserted))
      await bare.catch((cause: unknown) => {
        if (isAway(cause)) throw cause
        log.error({ id, error: messageOf(cause) }, 'a dead letter is not listed')
        this.counts.unlisted++
      })
    }
  }
}

function withoutContents(row: Row): Row {
  const message = 'the database does not take it; it can be looked at on its topic'
  const { topic } = row
  const envelope = JSON.stringify({ key: null, headers: {} })
  const bare = { original_topic: topic, key: null, source: null, set_id: null, part: 1, parts: 1, value: null }
  return { ...row, ...bare, code: CODE_UNREADABLE, message, envelope }
}
