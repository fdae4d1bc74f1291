/** What is counted of conversations on WebSockets. */

import type { Registry } from 'prom-client'
import { labelled, metricsOf } from '../../shared/metrics.ts'
import type { ChatDeskStats } from './socket/chat/chat-desk.ts'

export function chatSocketMetrics(registry: Registry, stats: () => ChatDeskStats): void {
  const { gauge, counter } = metricsOf(registry, 'busbar_')
  gauge('chat_sockets', 'WebSockets that are subscribed to conversations', () => stats().sockets)
  gauge('chat_socket_users', 'Users who have such sockets at this core', () => stats().users)
  gauge('chat_waiting_catch_ups', 'Conversations of sockets of which something missed is still to be read', () => {
    return stats().catchUps.waiting
  })
  counter('chat_catch_up_messages', 'Messages sent to sockets that had missed them', () => stats().catchUps.messages)
  counter('chat_failed_catch_ups', 'Times that what was missed could not be read, and was read later', () => {
    return stats().catchUps.failed
  })
  gauge('chat_typing_users', 'People who are shown as typing', () => stats().typing.shown)
  counter('chat_typing_records', 'Records that somebody is typing, or has stopped', () => stats().typing.published)
  counter(
    'chat_dropped_typing_records',
    'Those that were left out: too soon, with many on the way, or since the bus did not take them',
    () => {
      const { throttled, busy, failed } = stats().typing
      return labelled('reason', { throttled, busy, failed })
    },
    ['reason'],
  )
  counter(
    'chat_refused_frames',
    'Frames of sockets about conversations that were refused',
    () => labelled('code', stats().refused),
    ['code'],
  )
}
