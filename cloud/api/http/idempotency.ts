/**
 * Idempotency keys: a client that does not know whether its request arrived sends it again with the same key and gets
 * the first answer again. The key is claimed by inserting its row, so of any number of requests, on any number of
 * cores, one runs.
 */

import type { Kysely } from 'kysely'
import type { Clock } from '../../../shared/clock.ts'
import type { Database } from '../../database/schema.ts'
import { Problem, problemOf } from './problem.ts'
import type { Remember, Reply } from './route.ts'

export interface IdempotencyOptions {
  readonly database: Kysely<Database>
  readonly clock: Clock
  /** How long an answer is remembered, milliseconds. */
  readonly keptMs: number
  /** A request that has held its key for longer is taken for dead, milliseconds. */
  readonly inFlightMaxMs: number
}

/** Old keys are looked for once in so many new ones. */
const KEYS_BETWEEN_SWEEPS = 100

export class IdempotencyKeys {
  private readonly options: IdempotencyOptions
  private claims = 0

  constructor(options: IdempotencyOptions) {
    this.options = options
  }

  /**
   * Runs `work` unless a request with this key has run; then gives its answer again.
   * Answers are remembered; refusals and failures (thrown) are not: they had no effect, and a retry may succeed.
   *
   * Work that calls `remember` in the transaction of its effect has that effect once, whenever a core dies. Of other work a
   * retry meets the effect, should the core die between it and remembering the answer: creating says 409 then.
   */
  async once(key: string, route: string, digest: string, work: (remember: Remember) => Promise<Reply>): Promise<Reply> {
    const claimedAtMs = this.options.clock.wallMs()
    const remembered = await this.claim(key, route, digest, claimedAtMs)
    if (remembered !== null) return remembered
    let joined = false
    try {
      const reply = await work(async (reply, transaction) => {
        joined = true
        if (!(await this.remember(transaction, key, route, claimedAtMs, reply))) throw lostKey(key)
      })
      if (!joined) await this.remember(this.options.database, key, route, claimedAtMs, reply)
      return reply
    } catch (error) {
      await this.release(key, route, claimedAtMs)
      throw problemOf(error)
    }
  }

  /** Null when the key is ours now. */
  private async claim(key: string, route: string, digest: string, nowMs: number): Promise<Reply | null> {
    const { database, inFlightMaxMs, keptMs } = this.options
    if (this.claims++ % KEYS_BETWEEN_SWEEPS === 0) {
      await database
        .deleteFrom('idempotency_keys')
        .where('created_at_ms', '<', nowMs - keptMs)
        .execute()
    }
    await database
      .deleteFrom('idempotency_keys')
      .where('key', '=', key)
      .where('route', '=', route)
      .where((row) =>
        row.or([
          row('created_at_ms', '<', nowMs - keptMs),
          row.and([row('status', 'is', null), row('created_at_ms', '<', nowMs - inFlightMaxMs)]),
        ]),
      )
      .execute()
    const inserted = await database
      .insertInto('idempotency_keys')
      .values({ key, route, request_hash: digest, status: null, response: null, created_at_ms: nowMs })
      .onConflict((conflict) => conflict.columns(['key', 'route']).doNothing())
      .executeTakeFirst()
    if (Number(inserted.numInsertedOrUpdatedRows ?? 0) === 1) return null

    const row = await database
      .selectFrom('idempotency_keys')
      .select(['request_hash', 'status', 'response'])
      .where('key', '=', key)
      .where('route', '=', route)
      .executeTakeFirst()
    if (row !== undefined && row.request_hash !== digest) {
      throw new Problem('IDEMPOTENCY_KEY_REUSED', `The key ${key} was sent before with another body.`, {
        hint: 'Use a new key for every new request.',
      })
    }
    if (row === undefined || row.status === null || row.response === null) {
      throw new Problem('IDEMPOTENCY_IN_FLIGHT', `The first request with the key ${key} has no answer yet.`, {
        hint: 'Send the request again in a moment.',
        headers: { 'retry-after': '1' },
      })
    }
    return { ...(JSON.parse(row.response) as Reply), status: row.status }
  }

  /** False when the key is not ours any more: we were so slow that another request took it. */
  private async remember(
    database: Kysely<Database>,
    key: string,
    route: string,
    claimedAtMs: number,
    reply: Reply,
  ): Promise<boolean> {
    const updated = await database
      .updateTable('idempotency_keys')
      .set({ status: reply.status, response: JSON.stringify({ body: reply.body, headers: reply.headers }) })
      .where('key', '=', key)
      .where('route', '=', route)
      .where('status', 'is', null)
      .where('created_at_ms', '=', claimedAtMs)
      .executeTakeFirst()
    return Number(updated.numUpdatedRows) === 1
  }

  private async release(key: string, route: string, claimedAtMs: number): Promise<void> {
    await this.options.database
      .deleteFrom('idempotency_keys')
      .where('key', '=', key)
      .where('route', '=', route)
      .where('status', 'is', null)
      .where('created_at_ms', '=', claimedAtMs)
      .execute()
  }
}

function lostKey(key: string): Problem {
  return new Problem('IDEMPOTENCY_IN_FLIGHT', `Another request took over the key ${key} from this slow one.`, {
    hint: 'Send the request again in a moment.',
    headers: { 'retry-after': '1' },
  })
}
