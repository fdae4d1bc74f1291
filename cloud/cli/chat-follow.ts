/**
 * Follows conversations: over one connection after the other, each of which begins where the one before was lost, so that
 * nothing is missing and nothing is told twice.
 */

import type { Clock } from '../../shared/clock.ts'
import { sleep } from '../../shared/clock.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { Random } from '../../shared/random.ts'
import { fullJitterMs } from '../../shared/retry.ts'
import { RESUME_MAX } from '../api/socket/chat/chat-limits.ts'
import { RecentIds } from '../api/socket/recent-ids.ts'
import { ChatMarks } from './chat-marks.ts'
import type { ShownMessage, ShownStatus } from './chat-text.ts'
import type { LiveFrame, LiveSocket } from './live-socket.ts'

/** A conversation as far as following it goes. */
export interface FollowedConversation {
  readonly conversationId: string
  /** What was said up to here is told no more. */
  readonly lastRevision: number
  /** Everything up to here the caller has read, here or elsewhere. */
  readonly readPosition: number
}

export interface ChatFollowOptions {
  readonly userId: string
  /** Follows this one alone; absent for all of the caller's. */
  readonly conversationId?: string | undefined
  /** What there is to follow now. @throws BusbarError, retryable when it may be asked again */
  readonly conversations: () => Promise<readonly FollowedConversation[]>
  readonly open: (onFrame: (frame: LiveFrame) => void) => Promise<LiveSocket>
  /**
   * Once for each message, and for each change of one.
   * @param isFirst no earlier form of it was told.
   */
  readonly onMessage: (message: ShownMessage, isFirst: boolean, event: unknown) => void
  readonly onStatus: (status: ShownStatus, event: unknown) => void
  /** Any other event, such as that somebody is typing. */
  readonly onOther?: (event: unknown) => void
  /** The connection was lost, or is there again; the first one is not told. */
  readonly onConnected: (isConnected: boolean, why: string) => void
  readonly clock: Clock
  readonly random: Random
  /** Ends it. */
  readonly signal: AbortSignal
}

interface ChatEvent {
  readonly event?: unknown
  readonly conversationId?: unknown
  readonly change?: unknown
}

/** Nobody closed it: it is gone. */
const BROKEN = 1006
const BACKOFF = { baseMs: 500, capMs: 15_000 }
/** A connection that held for so long was a good one: the next loss is a new one. */
const GOOD_MS = 10_000

export class ChatFollow {
  private readonly options: ChatFollowOptions
  private readonly marks = new ChatMarks()
  private readonly recentStatuses = new RecentIds()
  private wasConnected = false
  private isConnected = false
  private socket: LiveSocket | null = null
  /** The one conversation that was to be followed. */
  private hasLeft = false

  constructor(options: ChatFollowOptions) {
    this.options = options
  }

  /**
   * Resolves when the signal ends it.
   * @throws BusbarError when it cannot begin, or when who asks is refused later.
   */
  async run(): Promise<void> {
    const { clock, random, signal, onConnected } = this.options
    for (let attempt = 0; !signal.aborted; attempt++) {
      const beganMs = clock.monotonicMs()
      try {
        const why = await this.attend()
        if (signal.aborted) return
        if (this.isConnected) onConnected(false, why)
      } catch (error) {
        if (signal.aborted) return
        if (!(error instanceof BusbarError) || !error.retryable || !this.wasConnected) throw error
        if (this.isConnected) onConnected(false, error.message)
      }
      this.isConnected = false
      if (clock.monotonicMs() - beganMs > GOOD_MS) attempt = 0
      await sleep(clock, fullJitterMs(attempt, BACKOFF, random), signal)
    }
  }

  /** One connection, from what it missed to its end; resolves with why it ended. */
  private async attend(): Promise<string> {
    const { open, signal, userId, onConnected } = this.options
    await this.look()
    const socket = await open((frame) => this.take(frame))
    this.socket = socket
    const close = (): void => socket.close()
    signal.addEventListener('abort', close, { once: true })
    try {
      if (signal.aborted) close()
      await socket.ask({ type: 'subscribe', channel: 'chat', filter: { userId } })
      await this.catchUp(socket)
      if (this.wasConnected && !this.isConnected) onConnected(true, '')
      this.wasConnected = true
      this.isConnected = true
      const { code, reason } = await socket.closed
      if (this.hasLeft) throw hasLeft()
      if (reason !== '') return reason
      return code === BROKEN ? 'the connection broke' : `closed with ${code}`
    } finally {
      signal.removeEventListener('abort', close)
      close()
    }
  }

  /** Before anything else: what is said from here on is news. */
  private async look(): Promise<void> {
    const conversations = await this.options.conversations()
    this.marks.keepOnly(new Set(conversations.map(({ conversationId }) => conversationId)))
    for (const { conversationId, lastRevision, readPosition } of conversations) {
      // One that came while nobody was connected is told from what is new in it.
      this.marks.begin(conversationId, this.wasConnected ? readPosition : lastRevision)
    }
  }

  /**
   * What was said since the marks comes as events before the answer does. Asked at once after the subscription, since a core
   * waits a moment for it before it sends what is new; also of nothing, so that it does not.
   */
  private async catchUp(socket: LiveSocket): Promise<void> {
    let left = Object.keys(this.marks.of())
    do {
      const now = left.slice(0, RESUME_MAX)
      const { more } = await socket.ask({ type: 'chat.resume', marks: this.marks.of(now) })
      const unfinished = new Set(Array.isArray(more) ? (more as unknown[]) : [])
      for (const id of now) if (!unfinished.has(id)) this.marks.settle(id)
      left = [...left.slice(RESUME_MAX), ...now.filter((id) => unfinished.has(id))]
    } while (left.length > 0)
  }

  /** Who comes back to it later begins anew. */
  private leave(conversationId: string): void {
    this.marks.forget(conversationId)
    if (conversationId !== this.options.conversationId) return
    this.hasLeft = true
    this.socket?.close()
  }

  private take({ type, channel, data }: LiveFrame): void {
    if (type !== 'event' || channel !== 'chat' || typeof data !== 'object' || data === null) return
    const event = data as ChatEvent
    const { conversationId, onMessage, onStatus, onOther } = this.options
    if (conversationId !== undefined && event.conversationId !== conversationId) return
    if (event.event === 'message') {
      const message = data as ShownMessage
      const { isNews, isFirst } = this.marks.take(message)
      if (isNews) onMessage(message, isFirst, data)
    } else if (event.event === 'status') {
      const status = data as ShownStatus
      const key = [status.conversationId, status.status, status.position, status.userId].join('/')
      if (this.recentStatuses.add(key)) onStatus(status, data)
    } else {
      onOther?.(data)
      if (event.event === 'conversation' && event.change === 'left') this.leave(String(event.conversationId))
    }
  }
}

function hasLeft(): BusbarError {
  return new BusbarError('you are not in this conversation any more', {
    code: 'CONVERSATION_LEFT',
    hint: 'somebody who is in it can add you',
  })
}
