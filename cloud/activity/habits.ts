/**
 * What is known of users' habits: the addresses that they log in from, as keyed hashes, and the hours of the day at which they
 * do. Learnt of every login that succeeded, in the transaction that stores it.
 */

import { sql, type Transaction } from 'kysely'
import { DAY_MS, HOUR_MS } from '../../shared/durations.ts'
import { type LocalTime, localTime } from '../../shared/local-time.ts'
import { networkOf } from '../../shared/network.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database, Dialect } from '../database/schema.ts'
import { type ActivityKeys, addressHashes } from './activity-keys.ts'
import { dayOf } from './days.ts'
import type { CheckedActivity } from './event.ts'
import { ANY_HOUR, isUnusualHour } from './usual-hours.ts'

export interface HabitsOptions {
  readonly dialect: Dialect
  readonly keys: ActivityKeys
  /** activity.suspicion */
  readonly settings: {
    readonly addressDays: number
    readonly unusualHoursDays: number
    readonly timeZone: string
  }
}

/** What a login had that its user has not been seen to have. */
export interface Oddity {
  readonly pattern: 'NEW_ADDRESS' | 'UNUSUAL_HOUR'
  readonly login: CheckedActivity
}

/** A longer text is no address. */
const ADDRESS_CHARS_MAX = 64
/** An address that was seen within this time is not written again. */
const SEEN_ACCURACY_MS = HOUR_MS

const ADDRESS = { user_id: 'text', address_hash: 'text', first_seen_ms: 'bigint', last_seen_ms: 'bigint' } as const
const HOUR = { user_id: 'text', hour: 'integer', days: 'bigint', last_day: 'text' } as const

export class Habits {
  private readonly options: HabitsOptions

  constructor(options: HabitsOptions) {
    this.options = options
  }

  /** Learns of logins, in their order; gives what was odd about each when it came. */
  async learn(logins: readonly CheckedActivity[], transaction: Transaction<Database>): Promise<readonly Oddity[]> {
    if (logins.length === 0) return []
    return [...(await this.learnAddresses(logins, transaction)), ...(await this.learnHours(logins, transaction))]
  }

  private async learnAddresses(
    logins: readonly CheckedActivity[],
    transaction: Transaction<Database>,
  ): Promise<readonly Oddity[]> {
    const { dialect, keys, settings } = this.options
    const addressed = logins.flatMap((login) => {
      const { ipAddress } = login.metadata
      if (typeof ipAddress !== 'string' || ipAddress === '' || ipAddress.length > ADDRESS_CHARS_MAX) return []
      return [{ login, hashes: addressHashes(keys, login.userId, networkOf(ipAddress)) }]
    })
    if (addressed.length === 0) return []
    const wanted = new Map(
      addressed.flatMap(({ login, hashes }) => hashes.map((hash) => [hash, { user_id: login.userId, hash }])),
    )
    const given = givenRows(dialect, { user_id: 'text', hash: 'text' }, [...wanted.values()])
    const { rows: known } = await sql<{ address_hash: string; last_seen_ms: number }>`
      select address_hash, last_seen_ms from ${given} join activity_addresses
      on activity_addresses.user_id = given.user_id and address_hash = given.hash`.execute(transaction)
    const users = [...new Set(addressed.map(({ login }) => login.userId))]
    const newest = await transaction
      .selectFrom('activity_addresses')
      .select(({ fn }) => ['user_id', fn.max('last_seen_ms').as('last_seen_ms')])
      .where(sql<boolean>`user_id in ${givenTexts(dialect, users)}`)
      .groupBy('user_id')
      .execute()
    const seenAtMs = new Map(known.map((row) => [row.address_hash, row.last_seen_ms]))
    const anySeenAtMs = new Map(newest.map((row) => [row.user_id, Number(row.last_seen_ms)]))
    const odd: Oddity[] = []
    const written = new Map<string, { user_id: string; address_hash: string; last_seen_ms: number }>()
    for (const { login, hashes } of addressed) {
      const { userId, atMs } = login
      const [hash] = hashes
      const sinceMs = atMs - settings.addressDays * DAY_MS
      const lastMs = Math.max(...hashes.map((each) => seenAtMs.get(each) ?? Number.NEGATIVE_INFINITY))
      const anyMs = anySeenAtMs.get(userId) ?? Number.NEGATIVE_INFINITY
      // Somebody of whom no address is known has none that is new.
      if (lastMs < sinceMs && anyMs >= sinceMs) odd.push({ pattern: 'NEW_ADDRESS', login })
      seenAtMs.set(hash, Math.max(lastMs, atMs))
      anySeenAtMs.set(userId, Math.max(anyMs, atMs))
      written.set(hash, { user_id: userId, address_hash: hash, last_seen_ms: Math.max(lastMs, atMs) })
    }
    const rows = [...written.values()].map((row) => ({ ...row, first_seen_ms: row.last_seen_ms }))
    await sql`
      insert into activity_addresses (user_id, address_hash, first_seen_ms, last_seen_ms)
      select user_id, address_hash, first_seen_ms, last_seen_ms from ${givenRows(dialect, ADDRESS, rows)} where true
      on conflict (user_id, address_hash) do update set last_seen_ms = excluded.last_seen_ms
      where excluded.last_seen_ms > activity_addresses.last_seen_ms + ${SEEN_ACCURACY_MS}`.execute(transaction)
    return odd
  }

  private async learnHours(
    logins: readonly CheckedActivity[],
    transaction: Transaction<Database>,
  ): Promise<readonly Oddity[]> {
    const { dialect, settings } = this.options
    const users = [...new Set(logins.map(({ userId }) => userId))]
    const stored = await transaction
      .selectFrom('activity_hours')
      .selectAll()
      .where(sql<boolean>`user_id in ${givenTexts(dialect, users)}`)
      .execute()
    const hours = new Map(stored.map((row) => [hourKey(row.user_id, row.hour), row]))
    const changed = new Map<string, (typeof stored)[number]>()
    const count = (userId: string, hour: number, { day }: LocalTime): void => {
      const key = hourKey(userId, hour)
      const before = hours.get(key)
      if (before !== undefined && before.last_day >= day) return
      const row = { user_id: userId, hour, days: (before?.days ?? 0) + 1, last_day: day }
      hours.set(key, row)
      changed.set(key, row)
    }
    const odd: Oddity[] = []
    for (const login of logins) {
      const { userId } = login
      const local = localTime(settings.timeZone, login.atMs)
      const daysAt = (hour: number) => hours.get(hourKey(userId, hour))?.days ?? 0
      if (isUnusualHour(local.hour, daysAt, settings.unusualHoursDays)) odd.push({ pattern: 'UNUSUAL_HOUR', login })
      count(userId, local.hour, local)
      count(userId, ANY_HOUR, local)
    }
    if (changed.size === 0) return odd
    await sql`
      insert into activity_hours (user_id, hour, days, last_day)
      select user_id, hour, days, last_day from ${givenRows(dialect, HOUR, [...changed.values()])} where true
      on conflict (user_id, hour) do update set days = excluded.days, last_day = excluded.last_day`.execute(transaction)
    return odd
  }
}

/** Forgets addresses that were not used for so long, whoever was not there for so long, and what was told before that. */
export async function purgeHabits(nowMs: number, addressDays: number, { kysely }: DatabaseHandle): Promise<void> {
  const beforeMs = nowMs - addressDays * DAY_MS
  await kysely
    .deleteFrom('activity_hours')
    .where('user_id', 'in', (query) =>
      query
        .selectFrom('activity_hours')
        .select('user_id')
        .where('hour', '=', ANY_HOUR)
        .where('last_day', '<', dayOf(beforeMs)),
    )
    .execute()
  await kysely.deleteFrom('activity_addresses').where('last_seen_ms', '<', beforeMs).execute()
  await kysely.deleteFrom('activity_suspicions').where('told_at_ms', '<', beforeMs).execute()
}

function hourKey(userId: string, hour: number): string {
  return `${hour} ${userId}`
}
