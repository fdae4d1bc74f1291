/** Tells sockets who came, who went and who is away: asks again and again, while there are any, who has changed. */

import { putLast } from '../../../../shared/bounded.ts'
import type { Clock, Timer } from '../../../../shared/clock.ts'
import { ComplaintLimit } from '../../../../shared/complaint-limit.ts'
import { messageOf } from '../../../../shared/errors.ts'
import type { Logger } from '../../../../shared/log.ts'
import type { Presence, PresenceChange } from '../../../chat/chat.ts'
import { PRESENCE_PAGE, PRESENCE_POLL_MS, PRESENCE_REACH_MS } from './chat-limits.ts'

export interface PresenceWatchOptions {
  readonly presence: Pick<Presence, 'changedSince' | 'audience'>
  /** Users who have a socket here. */
  readonly localUserIds: () => readonly string[]
  readonly onChange: (change: PresenceChange, audience: readonly string[]) => void
  readonly clock: Clock
  readonly log: Logger
}

/** States that were told, so that none is told twice; of more the first are forgotten. */
const TOLD_MAX = 20_000

export class PresenceWatch {
  private readonly options: PresenceWatchOptions
  private readonly complaints: ComplaintLimit
  /** States by user. */
  private readonly told = new Map<string, string>()
  private timer: Timer | null = null
  private looking: Promise<void> | null = null
  /** Unix milliseconds. */
  private sinceMs = 0
  private stopped = false

  constructor(options: PresenceWatchOptions) {
    this.options = options
    this.complaints = new ComplaintLimit(options.clock)
  }

  start(): void {
    if (this.timer !== null || this.stopped) return
    const { clock } = this.options
    this.sinceMs = clock.wallMs()
    this.timer = clock.every(PRESENCE_POLL_MS, () => {
      this.looking ??= this.look().finally(() => {
        this.looking = null
      })
    })
  }

  /** Nobody is there to be told. */
  rest(): void {
    this.timer?.cancel()
    this.timer = null
    // Who is there later has not been told it.
    this.told.clear()
  }

  async stop(): Promise<void> {
    this.stopped = true
    this.rest()
    await this.looking
  }

  /** Never rejects. */
  private async look(): Promise<void> {
    const { presence, clock, log } = this.options
    const nowMs = clock.wallMs()
    try {
      // Clocks of cores differ, and what was stored becomes visible a moment later.
      let sinceMs = Math.min(this.sinceMs, nowMs) - PRESENCE_REACH_MS
      let afterUserId = ''
      for (;;) {
        const page = await presence.changedSince(sinceMs, PRESENCE_PAGE, afterUserId)
        await this.tell(page.filter((change) => this.isNew(change)))
        const last = page.at(-1)
        if (page.length < PRESENCE_PAGE || last === undefined) break
        sinceMs = last.updatedAtMs
        afterUserId = last.userId
      }
      this.sinceMs = nowMs
    } catch (error) {
      if (this.complaints.isDue())
        log.warn({ error: messageOf(error) }, 'who is there cannot be looked up; trying again')
    }
  }

  private async tell(changes: readonly PresenceChange[]): Promise<void> {
    if (changes.length === 0) return
    const { presence, localUserIds, onChange } = this.options
    const userIds = changes.map(({ userId }) => userId)
    const audience = await presence.audience(userIds, localUserIds())
    for (const change of changes) {
      putLast(this.told, change.userId, change.state, TOLD_MAX)
      const to = audience.get(change.userId)
      if (to !== undefined) onChange(change, to)
    }
  }

  /** One that was looked at before is not told again, unless it changed. */
  private isNew({ userId, state }: PresenceChange): boolean {
    return this.told.get(userId) !== state
  }
}
