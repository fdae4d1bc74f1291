/** All that conversations have over REST. */

import type { Route } from '../http/route.ts'
import { type ChatMessageServices, chatMessageRoutes } from './chat-messages.ts'
import { chatReceiptRoutes, type ReceiptServices } from './chat-receipts.ts'
import { conversationMemberRoutes, type MemberServices } from './conversation-members.ts'
import { type ConversationServices, conversationRoutes } from './conversations.ts'
import { type PeopleServices, peopleRoutes } from './people.ts'

export type ChatRouteServices = ConversationServices &
  MemberServices &
  ChatMessageServices &
  ReceiptServices &
  PeopleServices

export function chatRoutes(services: ChatRouteServices): Route[] {
  return [
    ...conversationRoutes(services),
    ...conversationMemberRoutes(services),
    ...chatMessageRoutes(services),
    ...chatReceiptRoutes(services),
    ...peopleRoutes(services),
  ]
}
