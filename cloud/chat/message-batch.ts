/** What becomes of messages that are sent together: which are stored, with which number, and why others are not. Pure. */

import { type ChatError, chatInvalid, conversationArchived, conversationUnknown, messageIdReused } from './errors.ts'
import { type Message, type MessageStatus, messageIdOf, NOT_YET, statusOf } from './message.ts'
import { type Said, saidBy } from './message-rows.ts'
import type { LockedConversation, StoredMessage } from './message-store.ts'
import { invalidMentions, type NewMessage, storedText } from './new-message.ts'

export interface SendRequest {
  readonly senderId: string
  readonly message: NewMessage
}

export type SendFate =
  | { readonly kind: 'stored'; readonly message: Message }
  /** As it is stored. */
  | { readonly kind: 'repeated'; readonly message: Message; readonly status: MessageStatus }
  | { readonly kind: 'refused'; readonly error: ChatError }

/**
 * In the order of the requests. What was stored once is answered so again, whatever has become of its conversation since.
 * @param conversations theirs, as far as there are such.
 * @param existing by id, what is stored under the names of these messages.
 */
export function sendFates(
  requests: readonly SendRequest[],
  conversations: ReadonlyMap<string, LockedConversation>,
  existing: ReadonlyMap<string, StoredMessage>,
  sentAtMs: number,
): SendFate[] {
  const known = new Map(existing)
  const numbers = new Map<string, number>()
  return requests.map((request): SendFate => {
    const { senderId, message } = request
    const { conversationId, clientMessageId } = message
    const id = messageIdOf(senderId, clientMessageId)
    const said = { content: message.content, ...storedText(message) }
    const before = known.get(id)
    const locked = conversations.get(conversationId)
    if (before !== undefined) {
      if (before.message.conversationId !== conversationId || !isSame(before.original, said)) {
        return { kind: 'refused', error: messageIdReused(clientMessageId) }
      }
      return { kind: 'repeated', message: before.message, status: statusIn(locked, before.message) }
    }
    if (locked === undefined) return { kind: 'refused', error: conversationUnknown(conversationId) }
    const error = refusal(request, locked)
    if (error !== null) return { kind: 'refused', error }
    const number = (numbers.get(conversationId) ?? locked.conversation.lastRevision) + 1
    numbers.set(conversationId, number)
    const stored: Message = {
      id,
      conversationId,
      kind: 'MESSAGE',
      position: number,
      revision: number,
      senderId,
      clientMessageId,
      ...said,
      notice: null,
      sentAtMs,
      ...NOT_YET,
    }
    known.set(id, { message: stored, original: saidBy(stored) })
    return { kind: 'stored', message: stored }
  })
}

/** As its sender is shown it. */
export function statusIn(locked: LockedConversation | undefined, message: Message): MessageStatus {
  const others = [...(locked?.members.values() ?? [])].filter(({ userId }) => userId !== message.senderId)
  return statusOf(message, others)
}

function refusal({ senderId, message }: SendRequest, locked: LockedConversation): ChatError | null {
  const { conversationId, mentions = [] } = message
  if (!locked.members.has(senderId)) return conversationUnknown(conversationId)
  if (locked.conversation.archivedAtMs !== null) return conversationArchived(conversationId)
  const faults = invalidMentions(mentions, (userId) => locked.members.has(userId))
  return faults.length > 0 ? chatInvalid(faults) : null
}

function isSame(one: Said, other: Said): boolean {
  const text = ({ content, links, mentions }: Said) =>
    JSON.stringify([content, links.map(({ url, name }) => [url, name]), mentions])
  return text(one) === text(other)
}
