/**
 * Reads for sockets that subscribe where the conversations of their user are: a bounded number at once, and of one user one after
 * the other, so that whoever subscribes again and again holds nobody else up. Those who wait for the same share one answer,
 * which was read after all of them had asked.
 */

import type { Messages } from '../../../chat/chat.ts'
import { READS_MAX } from './chat-limits.ts'

type Marks = ReadonlyMap<string, number>

export class MarkReads {
  private readonly messages: Pick<Messages, 'marksOf'>
  /** Those that have not begun, by user; the one that waits longest is first. */
  private readonly waiting = new Map<string, PromiseWithResolvers<Marks>>()
  private readonly reading = new Set<string>()

  constructor(messages: Pick<Messages, 'marksOf'>) {
    this.messages = messages
  }

  /** By conversation of the user its last revision, as of now or later. Rejects when the database cannot be asked. */
  of(userId: string): Promise<Marks> {
    const same = this.waiting.get(userId)
    if (same !== undefined) return same.promise
    const wanted = Promise.withResolvers<Marks>()
    this.waiting.set(userId, wanted)
    this.advance()
    return wanted.promise
  }

  private advance(): void {
    for (const [userId, wanted] of this.waiting) {
      if (this.reading.size >= READS_MAX) return
      if (this.reading.has(userId)) continue
      this.waiting.delete(userId)
      this.reading.add(userId)
      void this.messages
        .marksOf(userId)
        .then(wanted.resolve, wanted.reject)
        .finally(() => {
          this.reading.delete(userId)
          this.advance()
        })
    }
  }
}
