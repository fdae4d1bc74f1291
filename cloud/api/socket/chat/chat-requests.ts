/**
 * What clients ask of conversations. Messages of one socket are stored in the order in which they came, and nothing waits for
 * another one's answer. Whatever is wrong is said by the id of the frame, and ends nothing.
 */

import type { Clock } from '../../../../shared/clock.ts'
import { BusbarError, messageOf } from '../../../../shared/errors.ts'
import type { Logger } from '../../../../shared/log.ts'
import { TokenBucket } from '../../../../shared/token-bucket.ts'
import { ChatError, chatInvalid, type Messages, type Presence, type Receipts } from '../../../chat/chat.ts'
import type { Caller } from '../../../identity/identity.ts'
import { Problem, problemOf } from '../../http/problem.ts'
import { requireRole, requireSelf } from '../../permission.ts'
import { time } from '../../schemas/common.ts'
import { CHANNELS } from '../channels.ts'
import type { LiveClient, RefusalDetails } from '../live-client.ts'
import type { ChatFrame } from './chat-frames.ts'
import { FRAMES_BURST, FRAMES_PER_SECOND, RESUME_COST, UNANSWERED_MAX } from './chat-limits.ts'
import type { ChatSeat } from './chat-seat.ts'
import type { Resumes } from './resumes.ts'
import type { TypingOut } from './typing-out.ts'

export interface ChatRequestsOptions {
  readonly messages: Pick<Messages, 'send'>
  readonly receipts: Pick<Receipts, 'read'>
  readonly presence: Pick<Presence, 'touch' | 'state'>
  readonly typing: Pick<TypingOut, 'say'>
  readonly resumes: Pick<Resumes, 'begin'>
  readonly seatOf: (client: LiveClient) => ChatSeat | null
  readonly clock: Clock
  readonly log: Logger
}

/** What one socket has asked. */
interface Asked {
  readonly bucket: TokenBucket
  unanswered: number
}

const PERMISSION = { role: 'viewer', scope: 'self' } as const
const BUCKET = { perSecond: FRAMES_PER_SECOND, burst: FRAMES_BURST }
/** After how long those that wait have gone, milliseconds. */
const RETRY_MS = 1_000

export class ChatRequests {
  private readonly options: ChatRequestsOptions
  private readonly asked = new Map<LiveClient, Asked>()
  private readonly refused = new Map<string, number>()

  constructor(options: ChatRequestsOptions) {
    this.options = options
  }

  /** Frames that were refused, by code. */
  stats(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.refused)
  }

  /** The socket is closed. */
  forget(client: LiveClient): void {
    this.asked.delete(client)
  }

  /** Answers the client whatever happens. Never throws. */
  take(client: LiveClient, frame: ChatFrame): void {
    const asked = this.askedBy(client)
    try {
      if (asked.unanswered >= UNANSWERED_MAX) throw tooMany(RETRY_MS)
      const working = this.begin(client, frame, asked)
      if (working === null) return
      asked.unanswered++
      void working
        .then((answer) => {
          if (answer !== null) client.reply(answer)
        })
        .catch((error: unknown) => this.refuse(client, frame, error))
        .finally(() => asked.unanswered--)
    } catch (error) {
      this.refuse(client, frame, error)
    }
  }

  /** @returns the answer, or null when it comes from elsewhere. */
  private begin(client: LiveClient, frame: ChatFrame, asked: Asked): Promise<object | null> | null {
    const { messages, receipts, typing, presence, resumes } = this.options
    requireRole(client.caller, PERMISSION, {
      tag: CHANNELS.chat.tag,
      access: frame.type === 'chat.resume' || frame.type === 'chat.state' ? 'read' : 'write',
    })
    // Messages have a limit of their own, of their sender.
    if (frame.type !== 'chat.send') this.takeTokens(asked, frame.type === 'chat.resume' ? RESUME_COST : 1)
    const seat = this.options.seatOf(client)
    const actor = (said: string | undefined): string => {
      const userId = actorOf(client.caller, said, seat)
      if (seat !== null) presence.touch(seat.userId, seat)
      return userId
    }
    switch (frame.type) {
      case 'chat.send': {
        const userId = actor(frame.userId)
        const { type: _, id, userId: __, ...message } = frame
        // Taken in at once, so that the next one of this socket is stored after it.
        return messages.send(userId, message).then((sent) => {
          const { id: messageId, conversationId, position, sentAtMs } = sent.message
          const stored = { conversationId, messageId, position, sentAt: time(sentAtMs), status: sent.status }
          return { type: 'chat.sent', id, ...stored }
        })
      }
      case 'chat.read':
        return receipts.read(actor(frame.userId), frame.conversationId, frame.position).then(() => done(frame.id))
      case 'chat.typing': {
        const said = typing.say(actor(frame.userId), frame.conversationId, frame.isTyping)
        return said.then(() => (frame.id === undefined ? null : done(frame.id)))
      }
      case 'chat.state': {
        const seated = requireSeat(seat)
        presence.state(seated.userId, frame.state, seated)
        client.reply(done(frame.id))
        return null
      }
      case 'chat.resume': {
        const seated = requireSeat(seat)
        seated.whenBegun(
          () => resumes.begin(seated, frame),
          () => this.refuse(client, frame, notSubscribed()),
        )
        return null
      }
    }
  }

  private takeTokens({ bucket }: Asked, cost: number): void {
    const waitMs = bucket.take(cost, this.options.clock.monotonicMs())
    if (waitMs > 0) throw tooMany(waitMs)
  }

  private askedBy(client: LiveClient): Asked {
    let asked = this.asked.get(client)
    if (asked === undefined) {
      asked = { bucket: new TokenBucket(BUCKET, this.options.clock.monotonicMs()), unanswered: 0 }
      this.asked.set(client, asked)
    }
    return asked
  }

  private refuse(client: LiveClient, frame: ChatFrame, error: unknown): void {
    const { code, message, hint, ...details } = refusalOf(error)
    if (code === 'INTERNAL') {
      this.options.log.error({ error: messageOf(error), frame: frame.type }, 'a frame could not be answered')
    }
    this.refused.set(code, (this.refused.get(code) ?? 0) + 1)
    client.refuse(frame.id ?? null, code, message, hint, { ...details, asked: frame.type })
  }
}

/** @throws Problem FORBIDDEN, ChatError INVALID_INPUT */
function actorOf(caller: Caller, said: string | undefined, seat: ChatSeat | null): string {
  if (caller.kind !== 'local') {
    if (said !== undefined) requireSelf(caller, said)
    return caller.id
  }
  const userId = said ?? seat?.userId
  if (userId !== undefined) return userId
  throw chatInvalid([{ pointer: '/userId', remedy: 'who does this, or subscribe to chat first' }])
}

function requireSeat(seat: ChatSeat | null): ChatSeat {
  if (seat === null) throw notSubscribed()
  return seat
}

function notSubscribed(): ChatError {
  return new ChatError('CONFLICT', 'This socket is not subscribed to chat.', {
    code: 'CHAT_NOT_SUBSCRIBED',
    hint: 'Subscribe to the channel chat first.',
  })
}

function tooMany(retryAfterMs: number): ChatError {
  return new ChatError('TOO_MANY_REQUESTS', `This socket sends too much: wait ${retryAfterMs} ms.`, {
    code: 'RATE_LIMITED',
    hint: 'Send it again after that.',
    retryAfterMs,
  })
}

function done(id: string): object {
  return { type: 'chat.done', id }
}

function refusalOf(
  error: unknown,
): RefusalDetails & { readonly code: string; readonly message: string; readonly hint: string } {
  if (error instanceof ChatError) {
    const { code, message, hint = '', fields, retryAfterMs } = error
    return { code, message, hint, fields, retryAfterMs }
  }
  // What was not expected keeps its message to the log.
  const { code, message, hint } = error instanceof Problem ? error : problemOf(error)
  const isLater = error instanceof BusbarError && error.retryable
  const next = hint ?? (isLater ? 'Try again later.' : 'Send it again; the same message with the same clientMessageId.')
  const isOurs = isLater || code === 'INTERNAL'
  return { code, message, hint: next, isOurs, ...(isLater ? { retryAfterMs: RETRY_MS } : {}) }
}
