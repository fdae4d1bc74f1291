/**
 * What those who are logged in may do at present, kept in memory for a moment so that not every request asks the database. What
 * changes on this core is seen at once, what changes on another one within `recheckMs`.
 */

import { BriefMemory } from '../../shared/brief-memory.ts'
import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { type Caller, callerOf } from './caller.ts'
import { type LoginState, LoginStore } from './login-store.ts'
import type { Grant } from './roles.ts'
import { UserStore } from './user-store.ts'

/** Logins remembered; at the limit the one that was read first is read again. */
const REMEMBERED_MAX = 10_000

export class Rights {
  private readonly clock: Clock
  private readonly logins: LoginStore
  private readonly users: UserStore
  /** Null for a login that has ended. */
  private readonly remembered: BriefMemory<Caller | null>

  constructor(options: { readonly database: DatabaseHandle; readonly clock: Clock; readonly recheckMs: number }) {
    this.clock = options.clock
    this.logins = new LoginStore(options.database)
    this.users = new UserStore(options.database)
    this.remembered = new BriefMemory({
      read: async (loginId) => (await this.now([loginId], 'any')).get(loginId) ?? null,
      keptMs: options.recheckMs,
      entriesMax: REMEMBERED_MAX,
      clock: options.clock,
    })
  }

  /** Null when the login has ended. A database that is away says nothing of anybody: the next request asks again. */
  async of(loginId: string): Promise<Caller | null> {
    return await this.remembered.of(loginId)
  }

  /**
   * Those of these logins that go on, as the database now has them.
   * @param tokens `fresh` leaves out those whose newest access token has expired.
   */
  async now(loginIds: readonly string[], tokens: 'fresh' | 'any'): Promise<ReadonlyMap<string, Caller>> {
    if (loginIds.length === 0) return new Map()
    const nowMs = this.clock.wallMs()
    const states = (await this.logins.states([...new Set(loginIds)])).filter((state) => {
      return goesOn(state, nowMs) && (tokens === 'any' || state.accessExpiresAtMs > nowMs)
    })
    const grants = await this.users.grantsOf([...new Set(states.map(({ userId }) => userId))])
    return new Map(states.map((state) => [state.id, callerOfLogin(state, grants.get(state.userId) ?? [])]))
  }

  /** Forgets everything, since something changed. What is being read at this moment may be older than that. */
  forget(): void {
    this.remembered.forgetAll()
  }
}

function goesOn({ userActive, expiresAtMs, endedAtMs }: LoginState, nowMs: number): boolean {
  return userActive && endedAtMs === null && expiresAtMs > nowMs
}

function callerOfLogin({ id, userId }: LoginState, grants: readonly Grant[]): Caller {
  return callerOf({ kind: 'user', id: userId, credentialId: id, scopes: null }, grants)
}
