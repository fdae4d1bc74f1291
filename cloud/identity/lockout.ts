/**
 * Who has failed too often waits. Failures are counted for each user and for each address, in the database, so that all cores
 * count as one. An attempt is counted before the password is looked at and given back when it is right: of a hundred guesses sent
 * at once no more are looked at than of a hundred sent one by one.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { HOUR_MS } from '../../shared/durations.ts'
import { networkOf } from '../../shared/network.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { IdentityError } from './errors.ts'
import type { SecurityNotes } from './security-events.ts'

export interface LockoutSettings {
  readonly loginFailuresMax: number
  readonly addressFailuresMax: number
  readonly lockoutMs: number
  readonly lockoutMaxMs: number
}

/** What is known of one user or address. */
export interface Failures {
  readonly failures: number
  readonly failedAtMs: number
  readonly lockedUntilMs: number
}

interface Policy {
  readonly failuresMax: number
  readonly lockoutMs: number
  readonly lockoutMaxMs: number
  /** One failure is forgotten whenever nothing failed for this long. */
  readonly forgetMs: number
}

/** Pure. A clock that was set back must not lock anybody out for longer than a lockout lasts. */
export function remainingLockMs({ lockedUntilMs }: Failures, nowMs: number, { lockoutMaxMs }: Policy): number {
  const remaining = lockedUntilMs - nowMs
  return remaining > lockoutMaxMs ? 0 : Math.max(0, remaining)
}

/** Pure: what is known after one more failure. */
export function afterFailure(before: Failures | null, nowMs: number, policy: Policy): Failures {
  const { failuresMax, lockoutMs, lockoutMaxMs, forgetMs } = policy
  const quietMs = before === null ? 0 : Math.max(0, nowMs - before.failedAtMs)
  const remembered = before === null ? 0 : Math.max(0, before.failures - Math.floor(quietMs / forgetMs))
  const failures = remembered + 1
  const lockouts = failures - failuresMax
  const lockMs = lockouts < 0 ? 0 : Math.min(lockoutMaxMs, lockoutMs * 2 ** Math.min(lockouts, 40))
  return { failures, failedAtMs: nowMs, lockedUntilMs: lockouts < 0 ? 0 : nowMs + lockMs }
}

export function addressSubject(address: string): string {
  return `address:${networkOf(address).slice(0, 64)}`
}

/** An attempt that was counted; what becomes of it is to be told once. */
export interface Attempt {
  /** It was right: forgets what the user failed, and gives the address its attempt back. */
  succeeded(): Promise<void>
  /** It was wrong, which is how it is counted already; tells of a lockout that it caused. */
  failed(): void
  /** Nobody looked at it: it counts as if it had not been. */
  dropped(): Promise<void>
}

export class Lockout {
  private readonly database: DatabaseHandle
  private readonly clock: Clock
  private readonly events: SecurityNotes
  private readonly ofUser: Policy
  private readonly ofAddress: Policy
  private refused = 0

  constructor(options: {
    readonly database: DatabaseHandle
    readonly clock: Clock
    readonly events: SecurityNotes
    readonly settings: LockoutSettings
  }) {
    const { lockoutMs, lockoutMaxMs, loginFailuresMax, addressFailuresMax } = options.settings
    this.database = options.database
    this.clock = options.clock
    this.events = options.events
    this.ofUser = { lockoutMs, lockoutMaxMs, failuresMax: loginFailuresMax, forgetMs: lockoutMaxMs }
    // Many people may share an address, and nobody's right password is a reason to forget another's wrong ones.
    const forgetMs = Math.ceil(lockoutMaxMs / addressFailuresMax)
    this.ofAddress = { lockoutMs, lockoutMaxMs, failuresMax: addressFailuresMax, forgetMs }
  }

  /**
   * Counts an attempt to be `userId`, who need not exist, or, for null, with a one-time link.
   * @throws IdentityError TOO_MANY_REQUESTS, in the same words whether the user exists or not.
   */
  async attempt(userId: string | null, address: string): Promise<Attempt> {
    const nowMs = Math.round(this.clock.wallMs())
    const from = addressSubject(address)
    const subjects = [{ subject: from, policy: this.ofAddress }]
    if (userId !== null) subjects.push({ subject: `user:${userId}`, policy: this.ofUser })
    const { waitMs, locked } = await this.database.transaction(async (transaction) => {
      const known: { subject: string; policy: Policy; before: Failures | null }[] = []
      const locked = new Map<string, number>()
      // In one order everywhere, so that no two attempts wait for each other.
      for (const each of subjects) {
        const before = await this.lock(each.subject, transaction)
        const lockedMs = before === null ? 0 : remainingLockMs(before, nowMs, each.policy)
        // An address that is locked out comes no further: it would leave a row for every name that it makes up.
        if (lockedMs > 0) return { waitMs: lockedMs, locked }
        known.push({ ...each, before })
      }
      for (const { subject, policy, before } of known) {
        const after = afterFailure(before, nowMs, policy)
        if (after.lockedUntilMs > nowMs) locked.set(subject, after.lockedUntilMs)
        await save(subject, after, transaction)
      }
      return { waitMs: 0, locked }
    })
    if (waitMs > 0) {
      this.refused++
      throw lockedOutError(waitMs)
    }
    return {
      succeeded: () => this.giveBack([from], locked, userId),
      failed: () => {
        for (const subject of locked.keys()) this.tell(subject, address)
      },
      dropped: () =>
        this.giveBack(
          subjects.map(({ subject }) => subject),
          locked,
          null,
        ),
    }
  }

  /** Attempts that were not looked at, since the start. */
  stats(): { readonly refused: number } {
    return { refused: this.refused }
  }

  /** What an administrator does for somebody who is locked out. */
  async forgive(userId: string, transaction: Transaction<Database>): Promise<void> {
    await save(`user:${userId}`, { failures: 0, failedAtMs: 0, lockedUntilMs: 0 }, transaction)
  }

  /** Forgets what counts no more. */
  async purge(): Promise<void> {
    const { lockoutMaxMs, failuresMax } = this.ofUser
    const beforeMs = Math.round(this.clock.wallMs()) - Math.max(HOUR_MS, lockoutMaxMs * (failuresMax + 1))
    const old = this.database.kysely.deleteFrom('login_failures').where('failed_at_ms', '<', beforeMs)
    await old.where('locked_until_ms', '<', beforeMs).execute()
  }

  /** The row, locked until the transaction ends; made when it is not there, so that there is something to lock. */
  private async lock(subject: string, transaction: Transaction<Database>): Promise<Failures | null> {
    await transaction
      .insertInto('login_failures')
      .values({ subject, failures: 0, failed_at_ms: 0, locked_until_ms: 0 })
      .onConflict((conflict) => conflict.column('subject').doNothing())
      .execute()
    const row = await transaction
      .selectFrom('login_failures')
      .selectAll()
      .where('subject', '=', subject)
      .$if(this.database.dialect === 'postgres', (query) => query.forUpdate())
      .executeTakeFirst()
    if (row === undefined || row.failures === 0) return null
    return { failures: row.failures, failedAtMs: row.failed_at_ms, lockedUntilMs: row.locked_until_ms }
  }

  /**
   * @param locked until when the attempt itself locked each; a lock that another one brought stays.
   * @param forgiven the user who has shown to be who they are.
   */
  private async giveBack(
    subjects: readonly string[],
    locked: ReadonlyMap<string, number>,
    forgiven: string | null,
  ): Promise<void> {
    await this.database.transaction(async (transaction) => {
      for (const subject of subjects) {
        const before = await this.lock(subject, transaction)
        if (before === null) continue
        const lockedUntilMs = before.lockedUntilMs === locked.get(subject) ? 0 : before.lockedUntilMs
        await save(subject, { ...before, failures: before.failures - 1, lockedUntilMs }, transaction)
      }
      if (forgiven !== null) await this.forgive(forgiven, transaction)
    })
  }

  private tell(subject: string, address: string): void {
    const userId = /^user:(.*)$/s.exec(subject)?.[1]
    if (userId === undefined) {
      const detail = 'Too many wrong passwords came from there, for whatever users.'
      this.events.note({ kind: 'address-locked-out', subject: subject.replace('address:', ''), detail, address })
    } else {
      const detail = 'Too many wrong passwords in a row; whoever is logged in already stays so.'
      this.events.note({ kind: 'user-locked-out', subject: userId, detail, address })
    }
  }
}

async function save(subject: string, after: Failures, transaction: Transaction<Database>): Promise<void> {
  const { failures, failedAtMs, lockedUntilMs } = after
  const row = { failures, failed_at_ms: failedAtMs, locked_until_ms: lockedUntilMs }
  await transaction
    .insertInto('login_failures')
    .values({ subject, ...row })
    .onConflict((conflict) => conflict.column('subject').doUpdateSet(row))
    .execute()
}

function lockedOutError(waitMs: number): IdentityError {
  return new IdentityError('TOO_MANY_REQUESTS', 'There were too many failed attempts.', {
    code: 'LOCKED_OUT',
    hint: 'Wait as long as Retry-After says, in seconds. Who has forgotten the password asks an administrator for a link.',
    retryAfter: Math.max(1, Math.ceil(waitMs / 1000)),
  })
}
