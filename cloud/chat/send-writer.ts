/** Stores messages that were sent together, all in one transaction; what is refused of them spoils nothing. */

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

  /** Outcomes in the order of the items. @throws for what concerns all of them, such as a database that is away. */
  async write(items: readonly SendItem[]): Promise<Outcome<SentMessage>[]> {
    const { database, outbox } = this.options
    // What was refused by what else was to be stored of it.
    const refused = new Map<SendItem, unknown>()
    for (let attempt = 1; ; ) {
      try {
        const rest = items.filter((item) => !refused.has(item))
        const fates = await database.transaction((transaction) => this.store(rest, transaction))
        if (fates.some(({ kind }) => kind === 'stored')) outbox.nudge()
        const outcomes = new Map(rest.map((item, i) => [item, outcomeOf(fates[i] as SendFate)]))
        return items.map((item) => outcomes.get(item) ?? { error: refused.get(item) })
      } catch (error) {
        if (error instanceof Spoiled) refused.set(error.item, error.cause)
        else if (!isDuplicate(error) || attempt++ === TRIES_MAX) throw error
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
      try {
        await item.also(outcome.result, transaction)
      } catch (error) {
        // It took the transaction with it, which is done again without that one.
        throw isRetryable(error) ? error : new Spoiled(item, error)
      }
    }
    return fates
  }
}

class Spoiled extends Error {
  readonly item: SendItem

  constructor(item: SendItem, cause: unknown) {
    super('what else was to be stored of a message was refused', { cause })
    this.item = item
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
