/** Who is in a conversation, over REST: listed, added, given roles, removed; and leaving. */

import { Type } from '@sinclair/typebox'
import type { Conversations, MembersAdded } from '../../chat/chat.ts'
import { doerOf } from '../http/doer.ts'
import { defineRoute, type Reply, type Route } from '../http/route.ts'
import { ConversationIdSchema } from '../schemas/chat-terms.ts'
import { closed, PAGE_QUERY, pageBody, pageSchema } from '../schemas/common.ts'
import {
  conversationBody,
  MemberChangesSchema,
  MemberSchema,
  MembersAddedSchema,
  memberBody,
  NewMembersSchema,
  ShownMemberSchema,
  shownMemberBody,
} from '../schemas/conversation.ts'
import { ASKER_QUERY, PersonIdSchema } from '../schemas/person.ts'

const PATH = '/api/v1/conversations/:id/members'
const ConversationParams = Type.Object({ id: ConversationIdSchema })
const MemberParams = Type.Object({
  id: ConversationIdSchema,
  userId: { ...PersonIdSchema, description: 'The member' },
})
const common = { tag: 'chat', permission: { role: 'viewer', scope: 'site' }, sites: 'listed' } as const

export interface MemberServices {
  readonly conversations: Pick<Conversations, 'members' | 'addMembers' | 'setRole' | 'removeMember'>
}

export function conversationMemberRoutes({ conversations }: MemberServices): Route[] {
  return [
    defineRoute(
      {
        ...common,
        method: 'GET',
        path: PATH,
        operationId: 'listConversationMembers',
        summary: 'Who is in a conversation, and how far each has come in it',
        params: ConversationParams,
        query: Type.Object({ ...PAGE_QUERY, ...ASKER_QUERY }, closed),
        responses: { 200: { description: 'A page of members, by user', schema: pageSchema(ShownMemberSchema) } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, query: { userId, ...page }, caller, activity }) => {
        const members = await conversations.members(doerOf({ caller, activity }, userId, '/userId', 'query'), id, page)
        return { status: 200, body: pageBody(members, shownMemberBody) }
      },
    ),
    defineRoute(
      {
        ...common,
        method: 'POST',
        path: PATH,
        operationId: 'addConversationMembers',
        summary: 'Let people into a conversation',
        description:
          'Into a group by its owners; into one about a site, a task or an alert by any member, and people who may see that. ' +
          'They see all that was said before. Who is in it already stays as they are.',
        params: ConversationParams,
        body: NewMembersSchema,
        idempotent: true,
        responses: { 200: { description: 'Who came in', schema: MembersAddedSchema } },
        problems: ['NOT_FOUND', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params: { id }, body, caller, remember, activity }) => {
        const asker = { userId: doerOf({ caller, activity }, body.userId, '/userId'), sees: caller.sites('viewer') }
        const added = await conversations.addMembers(asker, id, body.userIds, async (stored, transaction) => {
          await remember?.(addedReply(stored), transaction)
        })
        return addedReply(added)
      },
    ),
    defineRoute(
      {
        ...common,
        method: 'PATCH',
        path: `${PATH}/:userId`,
        operationId: 'changeConversationMember',
        summary: 'Give a member of a group another role',
        description: 'By its owners; the last of them stays one.',
        params: MemberParams,
        body: MemberChangesSchema,
        responses: { 200: { description: 'The member after the change', schema: MemberSchema } },
        problems: ['NOT_FOUND', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params, body, caller, activity }) => {
        const userId = doerOf({ caller, activity }, body.userId, '/userId')
        return {
          status: 200,
          body: memberBody(await conversations.setRole(userId, params.id, params.userId, body.role)),
        }
      },
    ),
    defineRoute(
      {
        ...common,
        method: 'DELETE',
        path: `${PATH}/:userId`,
        operationId: 'removeConversationMember',
        summary: 'Remove somebody from a group, or leave a conversation',
        description:
          'Of oneself it is leaving. When the last owner of a group leaves, whoever joined it first becomes one. Nobody leaves a ' +
          'conversation of two.',
        params: MemberParams,
        query: Type.Object(ASKER_QUERY, closed),
        responses: { 204: { description: 'They are not in it any more' } },
        problems: ['NOT_FOUND', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params, query, caller, activity }) => {
        const userId = doerOf({ caller, activity }, query.userId, '/userId', 'query')
        await conversations.removeMember(userId, params.id, params.userId)
        return new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } })
      },
    ),
  ]
}

function addedReply({ conversation, added }: MembersAdded): Reply {
  return { status: 200, body: { conversation: conversationBody(conversation), added } }
}
