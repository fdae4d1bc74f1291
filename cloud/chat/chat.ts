/** Conversations between people: the public face of this folder. */

export { ChatConsumer } from './chat-consumer.ts'
export { ChatNotices } from './chat-notices.ts'
export * from './chat-records.ts'
export * from './conversation.ts'
export type { Begun, NewConversation } from './conversation-beginning.ts'
export {
  type ConversationView,
  UNREAD_COUNTED_MAX,
} from './conversation-view.ts'
export {
  type ConversationSettings,
  Conversations,
  type MemberView,
} from './conversations.ts'
export * from './errors.ts'
export type { MembersAdded } from './member-changes.ts'
export { MemberDirectory } from './member-directory.ts'
export { Membership } from './membership.ts'
export * from './message.ts'
export type { LastRevision, MessageTrace, SentMessage, ShownMessage, Since } from './message-options.ts'
export { SEARCH_CHARS_MAX } from './message-search.ts'
export { Messages } from './messages.ts'
export {
  LINK_NAME_CHARS_MAX,
  LINK_URL_CHARS_MAX,
} from './new-message.ts'
export {
  Presence,
  type PresenceChange,
  type PresenceView,
} from './presence.ts'
export { PRESENCE_STATES } from './presence-state.ts'
export { type Mark, type MemberMarks, Receipts } from './receipts.ts'
export { Rosters } from './rosters.ts'
