/**
 * What conversations are measured against: an Elysia app that hands each message to the sockets of its conversation and
 * keeps nothing. It takes the same frames from the same clients and sends them the same frames.
 */

import { readFileSync } from 'node:fs'
import { Elysia } from 'elysia'
import type { ChatBroadcastSpec } from './chat-load-spec.ts'

type Frame =
  | { readonly type: 'chat.resume' }
  | { readonly type: 'subscribe'; readonly id: string; readonly filter: { readonly userId: string } }
  | { readonly type: 'chat.send'; readonly id: string; readonly conversationId: string; readonly content: string }

const { port, conversationsOf, sample } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as ChatBroadcastSpec

new Elysia()
  .get('/health/live', () => 'ok')
  .ws('/api/v1/ws', {
    message(socket, message) {
      const frame = message as Frame
      if (frame.type === 'subscribe') {
        for (const id of conversationsOf[frame.filter.userId] ?? []) socket.subscribe(id)
        socket.send({ type: 'subscribed', id: frame.id })
        return
      }
      if (frame.type !== 'chat.send') return
      socket.publish(frame.conversationId, `${sample.before}${frame.content}${sample.after}`)
      socket.send({ type: 'chat.sent', id: frame.id, conversationId: frame.conversationId })
    },
  })
  .listen({ hostname: '127.0.0.1', port })
