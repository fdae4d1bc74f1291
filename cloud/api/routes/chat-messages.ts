/** Messages of conversations over REST: sent, read again, edited, deleted. What they say is text, and never markup. */

import { Type } from '@sinclair/typebox'
import { type Random, randomHex } from '../../../shared/random.ts'
import { type Messages, SEARCH_CHARS_MAX, type SentMessage } from '../../chat/chat.ts'
import { encodeCursor, readPageRequest } from '../../registry/page.ts'
import { misplaced } from '../http/chat-input.ts'
import { doerOf } from '../http/doer.ts'
import { defineRoute, type Reply, type Route } from '../http/route.ts'
import {
  ChatMessageSchema,
  MessageEditSchema,
  MessagePageSchema,
  messageBody,
  NewChatMessageSchema,
} from '../schemas/chat-message.ts'
import { ConversationIdSchema, MarkSchema, MessageIdSchema } from '../schemas/chat-terms.ts'
import { closed, PAGE_QUERY, pageBody, pageSchema } from '../schemas/common.ts'
import { ASKER_QUERY } from '../schemas/person.ts'

const PATH = '/api/v1/conversations/:id/messages'
const ConversationParams = Type.Object({ id: ConversationIdSchema })
const MessageParams = Type.Object({ id: ConversationIdSchema, messageId: MessageIdSchema })
const AskerQuery = Type.Object(ASKER_QUERY, closed)
const common = { tag: 'chat', permission: { role: 'viewer', scope: 'site' }, sites: 'listed' } as const

export interface ChatMessageServices {
  readonly messages: Pick<Messages, 'send' | 'edit' | 'remove' | 'get' | 'history' | 'since' | 'search'>
  /** Names messages that their senders do not name. */
  readonly random: Random
}

export function chatMessageRoutes({ messages, random }: ChatMessageServices): Route[] {
  return [...readingRoutes(messages), sendRoute(messages, random), ...changeRoutes(messages)]
}

function readingRoutes(messages: ChatMessageServices['messages']): Route[] {
  return [
    defineRoute(
      {
        ...common,
        method: 'GET',
        path: PATH,
        operationId: 'listChatMessages',
        summary: 'The messages of a conversation, the newest first; or what happened after a revision, in its order',
        description:
          'Without `after` it is the history by position, the newest first. With `after`, for who comes back, each message that ' +
          'came or was changed since, as it is now, in the order of revision: whoever has all pages has everything up to ' +
          '`revision`, and asks for what comes then by that. What happened in the conversation besides is there as well, as a NOTICE.',
        params: ConversationParams,
        query: Type.Object(
          {
            ...PAGE_QUERY,
            after: Type.Optional({ ...MarkSchema, description: 'What happened after this revision' }),
            ...ASKER_QUERY,
          },
          closed,
        ),
        responses: { 200: { description: 'A page of messages', schema: MessagePageSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, query: { userId: said, after, ...page }, caller, activity }) => {
        const userId = doerOf({ caller, activity }, said, '/userId', 'query')
        if (after !== undefined) return await happenedAfter(messages, userId, id, after, page)
        return { status: 200, body: pageBody(await messages.history(userId, id, page), messageBody) }
      },
    ),
    defineRoute(
      {
        ...common,
        method: 'GET',
        path: `${PATH}/:messageId`,
        operationId: 'getChatMessage',
        summary: 'One message of a conversation',
        params: MessageParams,
        query: AskerQuery,
        responses: { 200: { description: 'The message', schema: ChatMessageSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id, messageId }, query, caller, activity }) => {
        const shown = await messages.get(doerOf({ caller, activity }, query.userId, '/userId', 'query'), id, messageId)
        return { status: 200, body: messageBody(shown) }
      },
    ),
    defineRoute(
      {
        ...common,
        method: 'GET',
        path: '/api/v1/messages',
        operationId: 'searchChatMessages',
        summary: 'Messages with a text in them, of the conversations that one is in, the newest first',
        description:
          'A page may have fewer messages than were asked for, or none, and yet a next one: a search stops to rest.',
        query: Type.Object(
          {
            ...PAGE_QUERY,
            search: Type.String({
              minLength: 1,
              maxLength: SEARCH_CHARS_MAX,
              description: 'Found anywhere in the content, in capitals or not',
            }),
            conversationId: Type.Optional({ ...ConversationIdSchema, description: 'In this one only' }),
            ...ASKER_QUERY,
          },
          closed,
        ),
        responses: { 200: { description: 'A page of messages', schema: pageSchema(ChatMessageSchema) } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ query: { userId: said, search, ...wanted }, caller, activity }) => {
        const userId = doerOf({ caller, activity }, said, '/userId', 'query')
        const found = await messages
          .search(userId, { ...wanted, text: search })
          .catch(misplaced({ '/text': { in: 'query', pointer: '/search' } }))
        return { status: 200, body: pageBody(found, messageBody) }
      },
    ),
  ]
}

/** The cursor is the revision up to which the pages before have come. */
async function happenedAfter(
  messages: Pick<Messages, 'since'>,
  userId: string,
  conversationId: string,
  after: number,
  page: { readonly limit?: number; readonly cursor?: string },
): Promise<Reply> {
  const { limit, after: reached } = readPageRequest<number>(page, 'number')
  const since = await messages.since(userId, conversationId, Math.max(after, reached ?? 0), { limit })
  const last = since.messages.at(-1)?.message.revision
  const revision = since.more && last !== undefined ? last : since.upTo
  const nextCursor = since.more ? encodeCursor(revision) : null
  return { status: 200, body: { items: since.messages.map(messageBody), nextCursor, revision } }
}

function sendRoute(messages: Pick<Messages, 'send'>, random: Random): Route {
  return defineRoute(
    {
      ...common,
      method: 'POST',
      path: PATH,
      operationId: 'sendChatMessage',
      summary: 'Say something in a conversation',
      description:
        'Stored when it is answered, and then on its way. Sent again with the same clientMessageId it is the same message. ' +
        'chat.messagesPerMinute and chat.messagesBurst are how many there may be of one user, 120 and 30 by default: more are ' +
        'answered with 429 and Retry-After. The same can be done over the WebSocket, by chat.send.',
      params: ConversationParams,
      body: NewChatMessageSchema,
      idempotent: true,
      responses: {
        200: { description: 'It had been sent before', schema: ChatMessageSchema },
        201: { description: 'The message', schema: ChatMessageSchema },
      },
      problems: ['NOT_FOUND', 'CONFLICT', 'UNAVAILABLE'],
    },
    async ({ params: { id }, body, caller, remember, activity }) => {
      const { userId, clientMessageId = randomHex(random, 16), ...text } = body
      const message = { conversationId: id, clientMessageId, ...text }
      const sent = await messages.send(
        doerOf({ caller, activity }, userId, '/userId'),
        message,
        async (stored, transaction) => {
          await remember?.(sentReply(stored), transaction)
        },
      )
      return sentReply(sent)
    },
  )
}

function sentReply({ message, status, repeated }: SentMessage): Reply {
  const location = `/api/v1/conversations/${message.conversationId}/messages/${message.id}`
  return { status: repeated ? 200 : 201, body: messageBody({ message, status }), headers: { location } }
}

function changeRoutes(messages: Pick<Messages, 'edit' | 'remove'>): Route[] {
  return [
    defineRoute(
      {
        ...common,
        method: 'PATCH',
        path: `${PATH}/:messageId`,
        operationId: 'editChatMessage',
        summary: 'Change what a message says',
        description: 'By who sent it. What it said before is kept: …/revisions.',
        params: MessageParams,
        body: MessageEditSchema,
        responses: { 200: { description: 'The message after the change', schema: ChatMessageSchema } },
        problems: ['NOT_FOUND', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params: { id, messageId }, body: { userId, ...text }, caller, activity }) => {
        const edited = await messages.edit(doerOf({ caller, activity }, userId, '/userId'), id, messageId, text)
        return { status: 200, body: messageBody(edited) }
      },
    ),
    defineRoute(
      {
        ...common,
        method: 'DELETE',
        path: `${PATH}/:messageId`,
        operationId: 'deleteChatMessage',
        summary: 'Delete a message',
        description:
          'By who sent it, or an owner of the group. Its place stays, without what it said; that is kept for auditors: …/revisions.',
        params: MessageParams,
        query: AskerQuery,
        responses: { 200: { description: 'The message, which says nothing any more', schema: ChatMessageSchema } },
        problems: ['NOT_FOUND', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params: { id, messageId }, query, caller, activity }) => {
        const deleted = await messages.remove(
          doerOf({ caller, activity }, query.userId, '/userId', 'query'),
          id,
          messageId,
        )
        return { status: 200, body: messageBody(deleted) }
      },
    ),
  ]
}
