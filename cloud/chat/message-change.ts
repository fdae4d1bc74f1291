/** What may become of a message that is there: edited by who wrote it, deleted by them or an owner. Pure. */

import { chatInvalid, conversationArchived, messageDeleted, messageNotYours } from './errors.ts'
import type { Message } from './message.ts'
import type { LockedConversation } from './message-store.ts'
import { invalidMentions, type MessageText, storedText } from './new-message.ts'

/** Of a message: what becomes of it, or the message itself when nothing does. Of whoever is in the conversation. @throws ChatError */
export type MessageChange = (message: Message, locked: LockedConversation, nowMs: number) => Message

/** Links and mentions that are left out stay as they are. */
export function edited(userId: string, text: MessageText): MessageChange {
  return (message, locked, nowMs) => {
    requireOpen(locked)
    if (message.kind !== 'MESSAGE' || message.senderId !== userId) throw messageNotYours(message.id)
    if (message.deletedAtMs !== null) throw messageDeleted(message.id)
    const { links, mentions } = storedText({
      content: text.content,
      links: text.links ?? message.links,
      mentions: text.mentions ?? message.mentions,
    })
    // Who was mentioned when it was sent may have left.
    const faults = invalidMentions(
      text.mentions ?? [],
      (mentioned) => locked.members.has(mentioned) || message.mentions.includes(mentioned),
    )
    if (faults.length > 0) throw chatInvalid(faults)
    const after = { ...message, content: text.content, links, mentions }
    if (JSON.stringify(after) === JSON.stringify(message)) return message
    return { ...after, revision: locked.conversation.lastRevision + 1, editedAtMs: nowMs }
  }
}

/** What it said is kept beside it. */
export function deleted(userId: string): MessageChange {
  return (message, locked, nowMs) => {
    const role = locked.members.get(userId)?.role
    if (message.kind !== 'MESSAGE') throw messageNotYours(message.id)
    if (message.senderId !== userId && role !== 'owner') throw messageNotYours(message.id)
    if (message.deletedAtMs !== null) return message
    requireOpen(locked)
    return {
      ...message,
      content: '',
      links: [],
      mentions: [],
      revision: locked.conversation.lastRevision + 1,
      deletedAtMs: nowMs,
      deletedBy: userId,
    }
  }
}

function requireOpen({ conversation }: LockedConversation): void {
  if (conversation.archivedAtMs !== null) throw conversationArchived(conversation.id)
}
