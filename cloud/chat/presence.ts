/** Who is there, as far as all cores know: online, away or offline, and when they were last seen. */

import type { Kysely } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'

export type PresenceState = 'online' | 'away' | 'offline'

/** What is shown of a user. */
export interface PresenceView {
  readonly userId: string
  readonly state: PresenceState
  /** Unix milliseconds; null for who never had a socket. Of who is there it is when that was last stored. */
  readonly lastSeenAtMs: number | null
}

export interface PresenceChange extends PresenceView {
  readonly updatedAtMs: number
}

export interface PresenceOptions {
  readonly database: DatabaseHandle
  /** Of this process and no other, also not of an earlier one. */
  readonly coreId: string
  readonly settings: {
    readonly awayAfterMs: number
    readonly offlineAfterMs: number
    readonly receiptsMembersMax: number
  }
  readonly clock: Clock
  readonly log: Logger
}

export interface PresenceStats {
  /** Of this core. */
  readonly users: number
  readonly sockets: number
  /** Users whose state is not stored yet. */
  readonly waiting: number
  /** Rows of cores that died, removed by this one. */
  readonly coresRemoved: number
}

export class Presence implements Part {
  readonly name = 'chat presence'
  readonly options: PresenceOptions

  constructor(options: PresenceOptions) {
    this.options = options
  }

  async start(): Promise<void> {}

  /** Takes everybody's sockets here away at once. */
  async stop(_deadline: AbortSignal): Promise<void> {}

  /** A socket of the user, which any object stands for. Without effect for one that is open. */
  open(_userId: string, _socket: object): void {}

  /** Without effect for one that is not open. */
  close(_userId: string, _socket: object): void {}

  /** What the socket says of itself; it holds until it says something else. */
  state(_userId: string, _state: 'online' | 'away', _socket: object): void {}

  /** The socket sent something: its user is not idle. Cheap, for every frame. */
  touch(_userId: string, _socket: object): void {}

  /** As it is shown, in the order given. @throws BusbarError DATABASE_UNAVAILABLE */
  async of(_userIds: readonly string[]): Promise<PresenceView[]> {
    return []
  }

  /** Those of them who have a socket at some core, away or not. @throws BusbarError DATABASE_UNAVAILABLE */
  async isOnline(_userIds: readonly string[], _kysely?: Kysely<Database>): Promise<ReadonlySet<string>> {
    return new Set()
  }

  /**
   * Whose state changed at `sinceMs` or later, ascending by that time and user, `limit` at most; with `afterUserId` those of
   * `sinceMs` itself begin after it. @throws BusbarError DATABASE_UNAVAILABLE
   */
  async changedSince(_sinceMs: number, _limit: number, _afterUserId = ''): Promise<PresenceChange[]> {
    return []
  }

  /**
   * By user who changed, who of the local ones shares a conversation with them that is not too large, themselves left out.
   * @throws BusbarError DATABASE_UNAVAILABLE
   */
  async audience(
    _changedUserIds: readonly string[],
    _localUserIds: readonly string[],
  ): Promise<ReadonlyMap<string, readonly string[]>> {
    return new Map()
  }

  stats(): PresenceStats {
    throw new Error('not yet')
  }
}
