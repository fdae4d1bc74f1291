/**
 * Marks of what was delivered, as they gather to be stored: one of each member of a conversation, the highest. Pure. At its limit
 * the oldest are let go: a client that resumes says again how far it has come.
 */

import { CONVERSATION_ID_PATTERN, memberKey } from './conversation.ts'

/** Everything of the conversation up to `position` has come to the user. */
export interface Mark {
  readonly userId: string
  readonly conversationId: string
  readonly position: number
}

export class DeliveredQueue {
  private readonly marksMax: number
  /** In the order in which each of them began to wait. */
  private readonly marks = new Map<string, Mark>()
  private dropped = 0

  constructor(marksMax: number) {
    this.marksMax = marksMax
  }

  get size(): number {
    return this.marks.size
  }

  /** Since the start. */
  get letGo(): number {
    return this.dropped
  }

  add(marks: readonly Mark[]): void {
    for (const mark of marks) {
      const key = memberKey(mark)
      const waiting = this.marks.get(key)
      if (waiting !== undefined && waiting.position >= mark.position) continue
      this.marks.set(key, mark)
      if (this.marks.size > this.marksMax) this.letGoOldest()
    }
  }

  /** The oldest, at most so many; they are in it no more. */
  take(marksMax: number): Mark[] {
    const taken: Mark[] = []
    for (const [key, mark] of this.marks) {
      if (taken.length === marksMax) break
      taken.push(mark)
      this.marks.delete(key)
    }
    return taken
  }

  private letGoOldest(): void {
    this.marks.delete(this.marks.keys().next().value as string)
    this.dropped++
  }
}

/** What can be none of ours would fail each time it is written, and all that waits with it. */
export function isSound({ conversationId, userId, position }: Mark): boolean {
  return CONVERSATION_ID_PATTERN.test(conversationId) && !userId.includes('\0') && Number.isSafeInteger(position)
}
