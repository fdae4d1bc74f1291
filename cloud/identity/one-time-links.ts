/** Links that are good once: to set up the first administrator, and to choose a password. */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import type { Random } from '../../shared/random.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { newSecret, secretHash, secretPattern } from './secrets.ts'

export interface OneTimeLink {
  /** Shown once. */
  readonly token: string
  readonly expiresAtMs: number
}

export type LinkPurpose = 'setup' | 'password'

const PREFIXES: Readonly<Record<LinkPurpose, string>> = { setup: 'bbs_', password: 'bbp_' }
/** Set-up links that are good at one time: one for each core that prints one. At the limit the oldest is void. */
const SETUP_LINKS_MAX = 16
const KEPT_MS = 30 * DAY_MS

export class OneTimeLinks {
  private readonly database: DatabaseHandle
  private readonly clock: Clock
  private readonly random: Random
  private readonly lifetimeMs: number

  constructor(options: {
    readonly database: DatabaseHandle
    readonly clock: Clock
    readonly random: Random
    readonly lifetimeMs: number
  }) {
    this.database = options.database
    this.clock = options.clock
    this.random = options.random
    this.lifetimeMs = options.lifetimeMs
  }

  /** A new one. Of a user the one before is void; of set-up links, those beyond as many as cores may print. */
  async make(
    purpose: LinkPurpose,
    { userId, madeBy }: { readonly userId: string | null; readonly madeBy: string | null },
    transaction: Transaction<Database>,
  ): Promise<OneTimeLink> {
    const nowMs = this.nowMs()
    const token = newSecret(PREFIXES[purpose], this.random)
    const expiresAtMs = nowMs + this.lifetimeMs
    if (userId !== null) await this.voidAll(purpose, userId, transaction)
    else await this.keepNewest(SETUP_LINKS_MAX - 1, transaction)
    await transaction
      .insertInto('one_time_links')
      .values({
        ...{ secret_hash: secretHash(token), purpose, user_id: userId, made_by: madeBy },
        ...{ created_at_ms: nowMs, expires_at_ms: expiresAtMs, used_at_ms: null },
      })
      .execute()
    return { token, expiresAtMs }
  }

  /** Whose link it is, which may be nobody's; undefined when it is no good. Uses nothing up. */
  async peek(purpose: LinkPurpose, token: string): Promise<string | null | undefined> {
    if (!secretPattern(PREFIXES[purpose]).test(token)) return undefined
    const row = await this.database.kysely
      .selectFrom('one_time_links')
      .select('user_id')
      .where('secret_hash', '=', secretHash(token))
      .where('purpose', '=', purpose)
      .where('used_at_ms', 'is', null)
      .where('expires_at_ms', '>', this.nowMs())
      .executeTakeFirst()
    return row?.user_id
  }

  /** Who made it; null for nobody who is a user. */
  async madeBy(token: string, transaction: Transaction<Database>): Promise<string | null> {
    const link = transaction.selectFrom('one_time_links').select('made_by').where('secret_hash', '=', secretHash(token))
    return (await link.executeTakeFirst())?.made_by ?? null
  }

  /**
   * Uses it up, and every other one of the same purpose and user. Two that come with such links at once come one after the
   * other: the second is told that its link is no good.
   */
  async use(purpose: LinkPurpose, token: string, transaction: Transaction<Database>): Promise<boolean> {
    const nowMs = this.nowMs()
    const own = await transaction
      .selectFrom('one_time_links')
      .select('user_id')
      .where('secret_hash', '=', secretHash(token))
      .where('purpose', '=', purpose)
      .executeTakeFirst()
    if (own === undefined) return false
    // Every link that this one excludes is locked, in one order; a newer one's user locks this one.
    const locked = await transaction
      .selectFrom('one_time_links')
      .selectAll()
      .where('purpose', '=', purpose)
      .where('user_id', own.user_id === null ? 'is' : '=', own.user_id)
      .orderBy('secret_hash')
      .$if(this.database.dialect === 'postgres', (query) => query.forUpdate())
      .execute()
    const hash = secretHash(token)
    const good = locked.some((row) => {
      return row.secret_hash === hash && row.used_at_ms === null && row.expires_at_ms > nowMs
    })
    if (good) await this.voidAll(purpose, own.user_id, transaction)
    return good
  }

  async voidAll(purpose: LinkPurpose, userId: string | null, transaction: Transaction<Database>): Promise<void> {
    await transaction
      .updateTable('one_time_links')
      .set({ used_at_ms: this.nowMs() })
      .where('purpose', '=', purpose)
      .where('user_id', userId === null ? 'is' : '=', userId)
      .where('used_at_ms', 'is', null)
      .execute()
  }

  /** Forgets those that have been over for a while. */
  async purge(): Promise<void> {
    const old = this.database.kysely.deleteFrom('one_time_links')
    await old.where('expires_at_ms', '<', this.nowMs() - KEPT_MS).execute()
  }

  private async keepNewest(count: number, transaction: Transaction<Database>): Promise<void> {
    const older = await transaction
      .selectFrom('one_time_links')
      .select('secret_hash')
      .where('purpose', '=', 'setup')
      .where('used_at_ms', 'is', null)
      .orderBy('created_at_ms', 'desc')
      .orderBy('secret_hash')
      .offset(count)
      .limit(1_000)
      .execute()
    if (older.length === 0) return
    const hashes = older.map(({ secret_hash }) => secret_hash)
    const voided = transaction.updateTable('one_time_links').set({ used_at_ms: this.nowMs() })
    await voided.where('secret_hash', 'in', hashes).execute()
  }

  private nowMs(): number {
    return Math.round(this.clock.wallMs())
  }
}
