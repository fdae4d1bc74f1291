/**
 * How far each member has come in a conversation: what was delivered to them, and what they have read. One mark each, that
 * only goes up; each time it does, those who wrote what it passed are told by a record that is stored with it.
 */

import type { Kysely, Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { Outbox } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'

/** Everything of the conversation up to `position` has come to the user. */
export interface Mark {
  readonly userId: string
  readonly conversationId: string
  readonly position: number
}

/** Where a member's marks are. */
export interface MemberMarks {
  readonly conversationId: string
  readonly userId: string
  readonly readPosition: number
  readonly deliveredPosition: number
}

export interface ReceiptsOptions {
  readonly database: DatabaseHandle
  readonly outbox: Pick<Outbox, 'append' | 'nudge'>
  /** Throws CONVERSATION_UNKNOWN for who is not in it, or may not see what it is about. */
  readonly conversations: {
    requireMember(userId: string, conversationId: string, kysely: Kysely<Database>): Promise<unknown>
  }
  /** In larger conversations senders are not told. */
  readonly settings: { readonly receiptsMembersMax: number }
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** Totals since the start. */
export interface ReceiptStats {
  /** Marks that went up. */
  readonly delivered: number
  readonly read: number
  /** Records for `message-status-events`. */
  readonly records: number
  /** Marks of what was delivered that wait to be stored. */
  readonly waiting: number
  /** Those that were let go, since too many waited for a database that is away; who resumes says them again. */
  readonly letGo: number
}

export class Receipts implements Part {
  readonly name = 'chat receipts'
  readonly options: ReceiptsOptions

  constructor(options: ReceiptsOptions) {
    this.options = options
  }

  async start(): Promise<void> {}

  /** Stores what waits. */
  async stop(_deadline: AbortSignal): Promise<void> {}

  /**
   * Gathers them for a moment. Resolves when they are stored, or when that failed for now and they wait to be tried again; never
   * rejects. Who is no member is left out.
   */
  async delivered(_marks: readonly Mark[]): Promise<void> {}

  /**
   * The member has read everything up to `position`; a lower one than before changes nothing. Resolves with the marks once
   * they are stored, with `also` in the same transaction, which may run again.
   * @throws ChatError CONVERSATION_UNKNOWN, INVALID_INPUT
   */
  read(
    _userId: string,
    _conversationId: string,
    _position: number,
    _also?: (marks: MemberMarks, transaction: Transaction<Database>) => Promise<void>,
  ): Promise<MemberMarks> {
    throw new Error('not yet')
  }

  stats(): ReceiptStats {
    throw new Error('not yet')
  }
}
