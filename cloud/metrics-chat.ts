/** Prometheus metrics of conversations; what sockets have of them is among those of the API. */

import { labelled, type Metrics } from '../shared/metrics.ts'
import type { Communication } from './communication.ts'

export function chatMetrics({ gauge, counter }: Metrics, communication: Communication): void {
  const { messages, receipts, presence, consumer, notices } = communication
  counter('chat_messages', 'Messages that this core took in', () => messages.stats().sent)
  counter('chat_repeated_messages', 'Those that had come before', () => messages.stats().repeated)
  counter('chat_edited_messages', 'Messages that were edited', () => messages.stats().edited)
  counter('chat_deleted_messages', 'Messages that were deleted', () => messages.stats().deleted)
  counter('chat_refused_messages', 'Messages and edits refused', () => labelled('code', messages.stats().refused), [
    'code',
  ])
  counter('chat_message_writes', 'Transactions that stored messages', () => messages.stats().batches)
  gauge('chat_waiting_messages', 'Messages that wait to be stored', () => messages.stats().waiting)
  counter('chat_purged_messages', 'Messages removed because of their age', () => messages.stats().purged)

  counter('chat_delivered_marks', 'Times that a member had got more of a conversation', () => {
    return receipts.stats().delivered
  })
  counter('chat_read_marks', 'Times that a member had read more of a conversation', () => receipts.stats().read)
  counter('chat_status_records', 'Records of both', () => receipts.stats().records)
  gauge('chat_waiting_marks', 'Marks of members that wait to be stored', () => receipts.stats().waiting)
  counter('chat_marks_let_go', 'Marks that were let go, since too many waited', () => receipts.stats().letGo)

  gauge('chat_present_users', 'Users who have a socket at this core', () => presence.stats().users)
  counter('chat_dead_cores', 'Cores whose sockets this one took away after they died', () => {
    return presence.stats().coresRemoved
  })

  counter('chat_notified', 'Notifications of messages, one for each user', () => {
    return consumer.stats().notified + notices.stats().notified
  })
  counter('chat_collapsed', 'Messages that a notification of before stands for', () => consumer.stats().collapsed)
}
