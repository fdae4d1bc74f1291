/** Stores messages that were sent together, all in one transaction; one that cannot be stored spoils nothing. */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { Outbox } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { isDuplicate, isRetryable } from '../database/failure.ts'
import type { Database } from '../database/schema.ts'
import { messageIdOf } from './message.ts'
import { type SendFate, type SendRequest, sendFates } from './message-batch.ts'
import type { Also, SentMessage } from './message-options.ts'
import type { MessageStore } from './message-store.ts'
import type { Outcome } from './send-queue.ts'

export interface SendItem extends SendRequest {
  readonly also: Also<SentMessage> | undefined
}

export interface SendWriterOptions {
  readonly database: DatabaseHandle
  readonly store: MessageStore
  readonly outbox: Pick<Outbox, 'nudge'>
  readonly clock: Clock
}

/** Another core stored a message of the same name meanwhile, in another conversation; what is stored is seen the next time. */
const TRIES_MAX = 3

export class SendWriter {
  private readonly options: SendWriterOptions

  constructor(options: SendWriterOptions) {
    this.options = options
  }

  /**
   * Outcomes in the order of the items; never rejects. When something is wrong with one of them, and nobody knows which, each half
   * is stored by itself, the first one first, until that one stands alone.
   */
  async write(items: readonly SendItem[]): Promise<Outcome<SentMessage>[]> {
    const { database, outbox } = this.options
    for (let attempt = 1; ; attempt++) {
      try {
        const fates = await database.transaction((transaction) => this.store(items, transaction))
        if (fates.some(({ kind }) => kind === 'stored')) outbox.nudge()
        return fates.map(outcomeOf)
      } catch (error) {
        if (isDuplicate(error) && attempt < TRIES_MAX) continue
        // A database that is away is that for all of them.
        if (items.length === 1 || isRetryable(error)) return items.map(() => ({ error }))
        const half = items.length >> 1
        return [...(await this.write(items.slice(0, half))), ...(await this.write(items.slice(half)))]
      }
    }
  }

  private async store(items: readonly SendItem[], transaction: Transaction<Database>): Promise<SendFate[]> {
    const { store, clock } = this.options
    const locked = await store.lockConversations(idsOf(items), transaction)
    const ids = items.map(({ senderId, message }) => messageIdOf(senderId, message.clientMessageId))
    const existing = await store.existing(ids, transaction)
    const fates = sendFates(items, locked, existing, Math.round(clock.wallMs()))
    const messages = fates.flatMap((fate) => (fate.kind === 'stored' ? [fate.message] : []))
    if (messages.length > 0) await store.insert(messages, locked, transaction)
    for (const [i, item] of items.entries()) {
      const outcome = outcomeOf(fates[i] as SendFate)
      if (item.also === undefined || 'error' in outcome) continue
      await item.also(outcome.result, transaction)
    }
    return fates
  }
}

function idsOf(items: readonly SendItem[]): string[] {
  return [...new Set(items.map(({ message }) => message.conversationId))].sort()
}

function outcomeOf(fate: SendFate): Outcome<SentMessage> {
  if (fate.kind === 'refused') return { error: fate.error }
  if (fate.kind === 'repeated') return { result: { message: fate.message, status: fate.status, repeated: true } }
  return { result: { message: fate.message, status: 'PENDING', repeated: false } }
}
