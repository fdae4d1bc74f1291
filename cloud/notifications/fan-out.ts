/**
 * Telling many. What more subscribers may be told than one transaction should hold is noted in the caller's transaction, and
 * told in steps of its own, so that neither the caller nor the one connection of SQLite is held up by how many there are.
 */

import type { Transaction } from 'kysely'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { FanOutStore } from './fan-out-store.ts'
import { SUBSCRIBERS } from './notice.ts'
import type { Telling } from './notification.ts'
import type { PreferenceStore } from './preference-store.ts'
import type { Preferences } from './preferences.ts'

export interface FanOutOptions {
  readonly database: DatabaseHandle
  readonly preferences: PreferenceStore
  /** Stores what these users are told, once, in the transaction. */
  readonly store: (
    telling: Telling,
    preferences: ReadonlyMap<string, Preferences>,
    transaction: Transaction<Database>,
  ) => Promise<void>
}

/** Users times tellings that are looked at in the caller's transaction; what is more is told in steps. */
const AT_ONCE_MAX = 2_000
/** Users of one step: some 30 ms on SQLite. */
const USERS_PER_STEP = 500

export class FanOut {
  private readonly options: FanOutOptions
  private readonly store: FanOutStore

  constructor(options: FanOutOptions) {
    this.options = options
    this.store = new FanOutStore(options.database)
  }

  /** Takes note of what subscribers are told where they are many; the rest is to be told at once. */
  async putOff(
    tellings: readonly Telling[],
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<{ readonly atOnce: readonly Telling[]; readonly isPutOff: boolean }> {
    const forSubscribers = tellings.flatMap((telling) => only(telling, 'subscribers'))
    const users = forSubscribers.length === 0 ? 0 : await this.options.preferences.count(transaction)
    if (users * forSubscribers.length <= AT_ONCE_MAX) return { atOnce: tellings, isPutOff: false }
    await this.store.add(forSubscribers, nowMs, transaction)
    return { atOnce: tellings.flatMap((telling) => only(telling, 'named')), isPutOff: true }
  }

  /** Tells what was put off, by whichever core, until nothing is left or `signal` aborts. @param onStep something was stored. */
  async run(signal: AbortSignal, onStep: () => void): Promise<void> {
    const { database, preferences, store } = this.options
    for (let isLeft = true; isLeft && !signal.aborted; await nextTurn()) {
      isLeft = await database.transaction(async (transaction) => {
        const started = await this.store.next(transaction)
        if (started === null) return false
        const { id, telling, afterUserId } = started
        const users = await preferences.ofUsersAfter(afterUserId, USERS_PER_STEP, transaction)
        await store(telling, users, transaction)
        const last = [...users.keys()].at(-1)
        if (users.size < USERS_PER_STEP || last === undefined) await this.store.end(id, transaction)
        else await this.store.advance(id, last, transaction)
        return true
      })
      if (isLeft) onStep()
    }
  }
}

/** The telling for subscribers alone, or for those who are named; none when it is not for such. Its key stays, so nobody is told twice. */
function only(telling: Telling, kind: 'subscribers' | 'named'): Telling[] {
  const audiences = telling.audiences.flatMap((audience) => {
    const { userIds, subscribers } = audience.recipients
    if (kind === 'subscribers') return subscribers ? [{ ...audience, recipients: SUBSCRIBERS }] : []
    return userIds.length === 0 ? [] : [{ ...audience, recipients: { userIds, subscribers: false } }]
  })
  return audiences.length === 0 ? [] : [{ ...telling, audiences }]
}
