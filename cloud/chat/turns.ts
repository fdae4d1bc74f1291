/**
 * What one user asks of the database is done one after the other: whoever asks for much at once, on however many sockets, waits
 * for themselves, and holds one of the database's connections.
 */

import { BusbarError } from '../../shared/errors.ts'

/** Requests of one user that wait; one more is told to try again. */
const WAITING_MAX = 200

interface Lane {
  /** Settles when the last one that waits is done. */
  last: Promise<unknown>
  /** The one that runs included. */
  count: number
}

export class Turns {
  private readonly waitingMax: number
  private readonly lanes = new Map<string, Lane>()

  constructor(waitingMax = WAITING_MAX) {
    this.waitingMax = waitingMax
  }

  /** Users of whom something runs. */
  get size(): number {
    return this.lanes.size
  }

  /** Does the work when what the user asked for before is done, however that ended. @throws BusbarError CHAT_BUSY */
  async take<T>(userId: string, work: () => Promise<T>): Promise<T> {
    const lane = this.lanes.get(userId) ?? { last: Promise.resolve(), count: 0 }
    if (lane.count > this.waitingMax) {
      throw new BusbarError('Too much that you have asked for waits to be done.', {
        code: 'CHAT_BUSY',
        retryable: true,
        hint: 'Ask again in a moment.',
      })
    }
    this.lanes.set(userId, lane)
    lane.count++
    const turn = lane.last.then(work)
    lane.last = turn.catch(() => undefined)
    try {
      return await turn
    } finally {
      if (--lane.count === 0) this.lanes.delete(userId)
    }
  }
}
