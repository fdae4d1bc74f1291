/** Sockets that asked for what they missed, until they have it. */

import type { Clock, Timer } from '../../../../shared/clock.ts'
import type { Mark } from '../../../chat/chat.ts'
import type { CatchUps } from './catch-ups.ts'
import type { ChatResume } from './chat-frames.ts'
import { RESUME_ANSWER_MS } from './chat-limits.ts'
import type { ChatSeat } from './chat-seat.ts'

interface Resume {
  readonly id: string
  /** By conversation, the revision after which everything is wanted. */
  readonly left: Map<string, number>
  readonly unknown: string[]
  readonly timer: Timer
}

export interface ResumesOptions {
  readonly catchUps: Pick<CatchUps, 'want'>
  /** The client has all up to there. */
  readonly onDelivered: (marks: readonly Mark[]) => void
  readonly clock: Clock
}

export class Resumes {
  private readonly options: ResumesOptions
  private readonly resuming = new Map<ChatSeat, Set<Resume>>()

  constructor(options: ResumesOptions) {
    this.options = options
  }

  begin(seat: ChatSeat, { id, marks }: ChatResume): void {
    const { catchUps, onDelivered, clock } = this.options
    const left = new Map<string, number>()
    const unknown: string[] = []
    const delivered: Mark[] = []
    for (const [conversationId, revision] of Object.entries(marks)) {
      const cursor = seat.cursorOf(conversationId)
      if (cursor === null) {
        unknown.push(conversationId)
        continue
      }
      // What there is not has not come either.
      delivered.push({ userId: seat.userId, conversationId, position: Math.min(revision, cursor.mark) })
      cursor.resume(revision)
      if (cursor.bottom > revision) left.set(conversationId, revision)
      if (cursor.wants !== null) catchUps.want(seat, conversationId)
    }
    seat.release()
    seat.flush(clock.monotonicMs())
    if (delivered.length > 0) onDelivered(delivered)
    if (left.size === 0) {
      answer(seat, id, [], unknown)
      return
    }
    const timer = clock.after(RESUME_ANSWER_MS, () => this.end(seat, resume))
    const resume: Resume = { id, left, unknown, timer }
    const known = this.resuming.get(seat)
    if (known === undefined) this.resuming.set(seat, new Set([resume]))
    else known.add(resume)
  }

  /** What is missing of a conversation was sent, or it is not the user's any more. */
  moved(seat: ChatSeat, conversationId: string): void {
    for (const resume of this.resuming.get(seat) ?? []) {
      const revision = resume.left.get(conversationId)
      if (revision === undefined) continue
      const cursor = seat.cursorOf(conversationId)
      if (cursor !== null && cursor.bottom > revision) continue
      if (cursor === null) resume.unknown.push(conversationId)
      resume.left.delete(conversationId)
      if (resume.left.size === 0) this.end(seat, resume)
    }
  }

  close(seat: ChatSeat): void {
    for (const { timer } of this.resuming.get(seat) ?? []) timer.cancel()
    this.resuming.delete(seat)
  }

  private end(seat: ChatSeat, resume: Resume): void {
    resume.timer.cancel()
    const known = this.resuming.get(seat)
    known?.delete(resume)
    if (known?.size === 0) this.resuming.delete(seat)
    answer(seat, resume.id, [...resume.left.keys()], resume.unknown)
  }
}

function answer(seat: ChatSeat, id: string, more: readonly string[], unknown: readonly string[]): void {
  seat.client.reply({ type: 'chat.resumed', id, more, unknown })
}
