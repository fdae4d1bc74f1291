/** Over REST, how far messages have come: who has got them, who has read them, and what they said before. */

import { Type } from '@sinclair/typebox'
import type { Conversations, MemberMarks, MemberView, Message, Messages, Receipts } from '../../chat/chat.ts'
import { doerOf } from '../http/doer.ts'
import { defineRoute, type Reply, type Route } from '../http/route.ts'
import { MarksSchema, MessageTraceSchema, ReadMarkSchema, ReceiptSchema, traceBody } from '../schemas/chat-message.ts'
import { ConversationIdSchema, MessageIdSchema } from '../schemas/chat-terms.ts'
import { closed, PAGE_QUERY, pageBody, pageSchema } from '../schemas/common.ts'
import { ASKER_QUERY } from '../schemas/person.ts'

const PATH = '/api/v1/conversations/:id'
const MessageParams = Type.Object({ id: ConversationIdSchema, messageId: MessageIdSchema })
const common = { tag: 'chat', permission: { role: 'viewer', scope: 'site' }, sites: 'listed' } as const

export interface ReceiptServices {
  readonly messages: Pick<Messages, 'get' | 'revisions' | 'audit'>
  readonly conversations: Pick<Conversations, 'members'>
  readonly receipts: Pick<Receipts, 'read'>
}

export function chatReceiptRoutes({ messages, conversations, receipts }: ReceiptServices): Route[] {
  return [
    defineRoute(
      {
        ...common,
        method: 'POST',
        path: `${PATH}/read`,
        operationId: 'readConversation',
        summary: 'Say that one has read a conversation up to a position',
        description: 'On whatever device: it is read on all of them. The mark only goes up.',
        params: Type.Object({ id: ConversationIdSchema }),
        body: ReadMarkSchema,
        idempotent: true,
        responses: { 200: { description: "One's marks as they are now", schema: MarksSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, body: { userId, position }, caller, remember, activity }) => {
        const doer = doerOf({ caller, activity }, userId, '/userId')
        const marks = await receipts.read(doer, id, position, async (stored, transaction) => {
          await remember?.(marksReply(stored), transaction)
        })
        return marksReply(marks)
      },
    ),
    defineRoute(
      {
        ...common,
        method: 'GET',
        path: `${PATH}/messages/:messageId/receipts`,
        operationId: 'listChatReceipts',
        summary: 'Who has got a message, and who has read it',
        description:
          'Of those who were in the conversation then and still are, without its sender. A page may have fewer than were asked for.',
        params: MessageParams,
        query: Type.Object({ ...PAGE_QUERY, ...ASKER_QUERY }, closed),
        responses: { 200: { description: 'A page of members, by user', schema: pageSchema(ReceiptSchema) } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id, messageId }, query: { userId: said, ...page }, caller, activity }) => {
        const userId = doerOf({ caller, activity }, said, '/userId', 'query')
        const { message } = await messages.get(userId, id, messageId)
        const { items, next } = await conversations.members(userId, id, page)
        const concerned = items.filter((member) => isTo(message, member))
        return {
          status: 200,
          body: pageBody({ items: concerned, next }, (member) => receiptBody(message, member)),
        }
      },
    ),
    defineRoute(
      {
        ...common,
        method: 'GET',
        path: `${PATH}/messages/:messageId/revisions`,
        operationId: 'listChatMessageRevisions',
        summary: 'What a message said before it was edited or deleted, the oldest first',
        description:
          'Whoever is in the conversation sees that of messages which are there. Auditors over every site see that of all messages, ' +
          'deleted ones too, and of every conversation.',
        params: MessageParams,
        query: Type.Object(ASKER_QUERY, closed),
        responses: {
          200: { description: 'All of it', schema: Type.Object({ items: Type.Array(MessageTraceSchema) }, closed) },
        },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id, messageId }, query, caller, activity }) => {
        const userId = doerOf({ caller, activity }, query.userId, '/userId', 'query')
        const isAuditor = caller.sites('auditor') === 'all'
        const trace = await (isAuditor ? messages.audit(id, messageId) : messages.revisions(userId, id, messageId))
        return { status: 200, body: { items: trace.map(traceBody) } }
      },
    ),
  ]
}

/** Who came into the conversation later has its marks behind the message without having got it. */
function isTo({ senderId, sentAtMs }: Message, { userId, sees, joinedAtMs }: MemberView): boolean {
  return userId !== senderId && sees && joinedAtMs <= sentAtMs
}

function receiptBody({ position }: Message, { userId, readPosition, deliveredPosition }: MemberView) {
  if (readPosition >= position) return { userId, status: 'READ' }
  return { userId, status: deliveredPosition >= position ? 'DELIVERED' : 'SENT' }
}

function marksReply({ conversationId, userId, readPosition, deliveredPosition }: MemberMarks): Reply {
  return { status: 200, body: { conversationId, userId, readPosition, deliveredPosition } }
}
