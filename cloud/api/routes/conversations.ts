/** Conversations over REST: begun, listed, named, archived. Who is not in one is told that there is none. */

import { type Static, Type } from '@sinclair/typebox'
import type { Begun, Conversations, ConversationView, NewConversation } from '../../chat/chat.ts'
import { misplaced } from '../http/chat-input.ts'
import { doerOf } from '../http/doer.ts'
import type { InvalidInput } from '../http/problem.ts'
import { defineRoute, type Reply, type Route } from '../http/route.ts'
import { ConversationIdSchema } from '../schemas/chat-terms.ts'
import { closed, PAGE_QUERY, pageBody, pageSchema } from '../schemas/common.ts'
import {
  ConversationChangesSchema,
  ConversationKindSchema,
  ConversationSchema,
  conversationBody,
  NewConversationSchema,
} from '../schemas/conversation.ts'
import { ASKER_QUERY } from '../schemas/person.ts'

const PATH = '/api/v1/conversations'
const ConversationParams = Type.Object({ id: ConversationIdSchema })
const common = { tag: 'chat', permission: { role: 'viewer', scope: 'site' }, sites: 'listed' } as const

export interface ConversationServices {
  readonly conversations: Pick<Conversations, 'list' | 'get' | 'begin' | 'change'>
}

export function conversationRoutes({ conversations }: ConversationServices): Route[] {
  return [
    defineRoute(
      {
        ...common,
        method: 'GET',
        path: PATH,
        operationId: 'listConversations',
        summary: 'The conversations that one is in, the one where something was said last first',
        description: 'Those about a site, a task or an alert that one may not see any more are left out.',
        query: Type.Object(
          {
            ...PAGE_QUERY,
            archived: Type.Optional(
              Type.Boolean({ default: false, description: 'true for the archived ones as well' }),
            ),
            kind: Type.Optional(ConversationKindSchema),
            ...ASKER_QUERY,
          },
          closed,
        ),
        responses: { 200: { description: 'A page of conversations', schema: pageSchema(ConversationSchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query: { userId, ...wanted }, caller, activity }) => {
        const page = await conversations.list(doerOf({ caller, activity }, userId, '/userId', 'query'), wanted)
        return { status: 200, body: pageBody(page, conversationBody) }
      },
    ),
    beginRoute(conversations),
    defineRoute(
      {
        ...common,
        method: 'GET',
        path: `${PATH}/:id`,
        operationId: 'getConversation',
        summary: 'One conversation that one is in',
        params: ConversationParams,
        query: Type.Object(ASKER_QUERY, closed),
        responses: { 200: { description: 'The conversation', schema: ConversationSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, query, caller, activity }) => {
        return shown(await conversations.get(doerOf({ caller, activity }, query.userId, '/userId', 'query'), id))
      },
    ),
    defineRoute(
      {
        ...common,
        method: 'PATCH',
        path: `${PATH}/:id`,
        operationId: 'changeConversation',
        summary: 'Give a group another title; archive or reopen a conversation',
        description:
          'A group is changed by its owners. Of two, and about a site, a task or an alert, any member archives and reopens it. ' +
          'What is archived can be read, and nobody writes in it.',
        params: ConversationParams,
        body: ConversationChangesSchema,
        responses: { 200: { description: 'The conversation after the change', schema: ConversationSchema } },
        problems: ['NOT_FOUND', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params: { id }, body: { userId, ...changes }, caller, activity }) => {
        return shown(await conversations.change(doerOf({ caller, activity }, userId, '/userId'), id, changes))
      },
    ),
  ]
}

function beginRoute(conversations: Pick<Conversations, 'begin'>): Route {
  return defineRoute(
    {
      ...common,
      method: 'POST',
      path: PATH,
      operationId: 'beginConversation',
      summary: 'Begin a conversation, or come into the one that there is',
      description:
        'A group is a new one each time. Two people have one conversation, and so has each site, task and alert: whoever ' +
        'may see that and begins it is in it. Programs begin none; a person adds them to a group.',
      body: NewConversationSchema,
      idempotent: true,
      responses: {
        200: { description: 'There was one', schema: ConversationSchema },
        201: { description: 'It is begun', schema: ConversationSchema },
      },
      problems: ['CONFLICT', 'UNAVAILABLE'],
    },
    async ({ body, caller, remember, activity }) => {
      const asker = { userId: doerOf({ caller, activity }, body.userId, '/userId'), sees: caller.sites('viewer') }
      const begun = await conversations
        .begin(asker, wantedBy(body), async (begun, transaction) => {
          await remember?.(answered(begun), transaction)
        })
        .catch(misplaced(placesOf(body)))
      return answered(begun)
    },
  )
}

function shown(view: ConversationView): Reply {
  return { status: 200, body: conversationBody(view) }
}

function answered({ conversation, created }: Begun): Reply {
  const headers = { location: `${PATH}/${conversation.id}` }
  return { ...shown(conversation), status: created ? 201 : 200, headers }
}

function wantedBy(body: Static<typeof NewConversationSchema>): NewConversation {
  switch (body.kind) {
    case 'direct':
      return { kind: 'direct', userId: body.with }
    case 'group':
      return { kind: 'group', title: body.title, userIds: body.userIds }
    case 'site':
      return { kind: 'site', subjectId: String(body.siteId) }
    case 'task':
      return { kind: 'task', subjectId: body.taskId }
    case 'alert':
      return { kind: 'alert', subjectId: body.alertId }
  }
}

/** What the service calls the other one, and the subject. */
function placesOf({
  kind,
}: Static<typeof NewConversationSchema>): Record<string, Pick<InvalidInput, 'in' | 'pointer'>> {
  if (kind === 'group') return {}
  const pointer = kind === 'direct' ? '/with' : `/${kind}Id`
  return { [kind === 'direct' ? '/userId' : '/subjectId']: { in: 'body', pointer } }
}
