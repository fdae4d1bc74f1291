/** What becomes of messages once the bus has them: they are marked, and their senders told, in the relay's transaction. */

import { sql, type Transaction } from 'kysely'
import { MESSAGE_STATUS_EVENTS } from '../bus/catalogue.ts'
import type { Outbox, OutboxRecord } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { encodeStatus } from './chat-records.ts'
import { MESSAGE_OWNER } from './message-store.ts'

export interface PublishedOptions {
  readonly database: Pick<DatabaseHandle, 'dialect'>
  readonly outbox: Pick<Outbox, 'append' | 'onPublished'>
}

/** A message that was marked now. */
interface Published {
  readonly id: string
  readonly conversation_id: string
  readonly sender_id: string
  readonly kind: string
  readonly position: number
}

/** Listens from now on; before the relay starts. */
export function markPublished({ database, outbox }: PublishedOptions): void {
  outbox.onPublished(MESSAGE_OWNER, async (ids, sentAtMs, transaction) => {
    const published = await mark(database, ids, Math.round(sentAtMs), transaction)
    const sent = published.filter(({ kind }) => kind === 'MESSAGE')
    // One mark says it of all that came before.
    const newest = new Map<string, Published>()
    for (const message of sent) {
      const key = `${message.conversation_id}/${message.sender_id}`
      if ((newest.get(key)?.position ?? 0) < message.position) newest.set(key, message)
    }
    await outbox.append(
      [...newest.values()].map((message) => sentRecord(message, sentAtMs)),
      transaction,
    )
  })
}

async function mark(
  { dialect }: Pick<DatabaseHandle, 'dialect'>,
  ids: readonly string[],
  sentAtMs: number,
  transaction: Transaction<Database>,
): Promise<Published[]> {
  // One order for all cores, so that two transactions cannot wait for each other's rows.
  const locked = dialect === 'postgres' ? sql`order by id for update` : sql``
  const { rows } = await sql<Published>`
    update chat_messages set published_at_ms = ${sentAtMs}
    where id in (
      select id from chat_messages where id in ${givenTexts(dialect, ids)} and published_at_ms is null ${locked}
    )
    returning id, conversation_id, sender_id, kind, position`.execute(transaction)
  return rows
}

function sentRecord({ id, conversation_id, sender_id, position }: Published, sentAtMs: number): OutboxRecord {
  return {
    topic: MESSAGE_STATUS_EVENTS,
    key: sender_id,
    ...encodeStatus({
      messageId: id,
      conversationId: conversation_id,
      status: 'SENT',
      userId: sender_id,
      timestamp: new Date(sentAtMs).toISOString(),
      position,
      recipientIds: [sender_id],
    }),
  }
}
