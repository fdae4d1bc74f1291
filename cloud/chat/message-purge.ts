/** Messages are kept for so long; older ones go in steps, with what they said before, on one core at a time. */

import { sql } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { DAY_MS, HOUR_MS } from '../../shared/durations.ts'
import type { Logger } from '../../shared/log.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import { givenTexts } from '../database/given-rows.ts'

export interface MessagePurgeOptions {
  readonly database: DatabaseHandle
  readonly settings: { readonly keptDays: number }
  readonly coreId: string
  readonly clock: Clock
  readonly log: Logger
}

/** Of one transaction. */
const ROWS_PER_STEP = 500

export class MessagePurge {
  readonly duty: Duty
  private readonly options: MessagePurgeOptions
  private removed = 0

  constructor(options: MessagePurgeOptions) {
    const { database, coreId, clock, log } = options
    this.options = options
    this.duty = new Duty({
      name: 'chat message purge',
      database,
      coreId,
      clock,
      log,
      periodMs: HOUR_MS,
      work: (signal) => this.run(signal),
    })
  }

  /** Removed since the start. */
  get purged(): number {
    return this.removed
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, settings } = this.options
    const beforeMs = Math.round(clock.wallMs()) - settings.keptDays * DAY_MS
    for (let removed = ROWS_PER_STEP; removed === ROWS_PER_STEP && !signal.aborted; await nextTurn()) {
      removed = await this.step(beforeMs)
      this.removed += removed
    }
  }

  private step(beforeMs: number): Promise<number> {
    const { database } = this.options
    const { dialect } = database
    return database.transaction(async (transaction) => {
      const old = await transaction
        .selectFrom('chat_messages')
        .select('id')
        .where('sent_at_ms', '<', beforeMs)
        .orderBy('sent_at_ms')
        .limit(ROWS_PER_STEP)
        // One that is just being changed goes the next time.
        .$if(dialect === 'postgres', (query) => query.forUpdate().skipLocked())
        .execute()
      if (old.length === 0) return 0
      const ids = givenTexts(
        dialect,
        old.map(({ id }) => id),
      )
      await transaction.deleteFrom('chat_message_revisions').where(sql<boolean>`message_id in ${ids}`).execute()
      await transaction.deleteFrom('chat_messages').where(sql<boolean>`id in ${ids}`).execute()
      return old.length
    })
  }
}
