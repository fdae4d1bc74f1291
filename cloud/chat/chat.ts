/** Conversations between people: the public face of this folder. */

export { ChatConsumer, type ChatConsumerOptions, type ChatConsumerStats } from './chat-consumer.ts'
export { ChatNotices, type ChatNoticesOptions, type ChatNoticesStats } from './chat-notices.ts'
export * from './chat-records.ts'
export * from './conversation.ts'
export type { Begun, NewConversation } from './conversation-beginning.ts'
export {
  type ConversationsRequest,
  type ConversationView,
  UNREAD_COUNTED_MAX,
} from './conversation-view.ts'
export {
  type ConversationChanges,
  type ConversationSettings,
  Conversations,
  type ConversationsOptions,
  type MemberView,
} from './conversations.ts'
export * from './errors.ts'
export type { MembersAdded } from './member-changes.ts'
export { MemberDirectory } from './member-directory.ts'
export { Membership } from './membership.ts'
export * from './message.ts'
export type {
  Also,
  HistoryRequest,
  LastRevision,
  MessageSettings,
  MessageStats,
  MessagesOptions,
  MessageTrace,
  SearchRequest,
  SentMessage,
  ShownMessage,
  Since,
  SinceRequest,
} from './message-options.ts'
export { SEARCH_CHARS_MAX } from './message-search.ts'
export { Messages } from './messages.ts'
export {
  LINK_NAME_CHARS_MAX,
  LINK_URL_CHARS_MAX,
  type MessageText,
  type NewLink,
  type NewMessage,
} from './new-message.ts'
export {
  Presence,
  type PresenceChange,
  type PresenceOptions,
  type PresenceSettings,
  type PresenceState,
  type PresenceStats,
  type PresenceView,
} from './presence.ts'
export { type Mark, type MemberMarks, type ReceiptStats, Receipts, type ReceiptsOptions } from './receipts.ts'
export { Rosters, type RostersOptions } from './rosters.ts'
export type { SubjectSources } from './subject-sight.ts'
export { Subjects, type SubjectView } from './subjects.ts'
