/** The one database of a core: SQLite, or PostgreSQL when several cores share it; one set of queries for both. */

import { Kysely, type Transaction } from 'kysely'
import { type Clock, sleep, type Timer } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { isLoopback } from '../../shared/loopback.ts'
import { type Random, systemRandom } from '../../shared/random.ts'
import { fullJitterMs, retry } from '../../shared/retry.ts'
import type { DependencyHealth } from '../bus/bus.ts'
import { failureKind, isRetryable, translate } from './failure.ts'
import { type Migration, migrate } from './migrate.ts'
import { MIGRATIONS } from './migrations/all.ts'
import { type PostgresTls, postgresDialect } from './postgres.ts'
import type { Database, Dialect } from './schema.ts'
import { sqliteDialect } from './sqlite.ts'
import { parseDatabaseUrl, redactDatabaseUrl } from './url.ts'
import type { StatementWatch } from './watched-driver.ts'

export interface DatabaseOptions {
  /** `sqlite:/path/file.db` or `postgres://user:password@host/database`. */
  readonly url: string
  /** TLS to PostgreSQL, with the server's certificate and name checked; without it nothing is encrypted. */
  readonly tls?: PostgresTls
  readonly clock: Clock
  readonly log: Logger
  readonly random?: Random
  /** Connections to PostgreSQL; SQLite has one. Default 10. */
  readonly poolSize?: number
  /** How long a connection, or an answer to a probe, may take. Default 5,000. */
  readonly connectTimeoutMs?: number
  /** A statement that takes longer fails as unavailable. Default 30,000. */
  readonly queryTimeoutMs?: number
  /** How long `start` waits for a database that is not up yet. Default 30,000. */
  readonly startTimeoutMs?: number
  /** How often health asks a database that nothing else talks to. Default 2,000. */
  readonly probePeriodMs?: number
  /** For tests; default: those of this program. */
  readonly migrations?: readonly Migration[]
}

const CONNECT_TIMEOUT_MS = 5_000
/** Tries of a transaction that met another one; a fifth conflict in a row is no accident. */
const TRANSACTION_TRIES_MAX = 5
const CONTENTION_BACKOFF = { baseMs: 5, capMs: 200 }
const START_BACKOFF = { baseMs: 200, capMs: 2_000 }

/** @throws BusbarError DATABASE_URL_INVALID. Nothing is opened before `start`. */
export function openDatabase(options: DatabaseOptions): DatabaseHandle {
  return new DatabaseHandle(options)
}

/**
 * Every retryable failure of a query made through `kysely` is a BusbarError DATABASE_UNAVAILABLE; a database that will
 * not have us is DATABASE_REFUSED.
 */
export class DatabaseHandle implements Part {
  readonly name = 'database'
  readonly kysely: Kysely<Database>
  readonly dialect: Dialect
  private readonly options: DatabaseOptions
  private readonly random: Random
  private readonly shownUrl: string
  private readonly readableOnTheWay: boolean
  private readonly stopping = new AbortController()
  private failure: string | null = 'not started'
  private starting: Promise<void> | null = null
  private closing: Promise<void> | null = null
  private probing: Promise<void> | null = null
  private timer: Timer | null = null

  constructor(options: DatabaseOptions) {
    const url = parseDatabaseUrl(options.url, options.tls !== undefined)
    this.options = options
    this.random = options.random ?? systemRandom
    this.shownUrl = redactDatabaseUrl(options.url)
    this.dialect = url.dialect
    this.readableOnTheWay = url.dialect === 'postgres' && options.tls === undefined && !isLocal(url.host)
    const watch: StatementWatch = {
      succeeded: () => this.noteSuccess(),
      failed: (error) => this.noteFailure(error),
    }
    this.kysely = new Kysely<Database>({
      dialect:
        url.dialect === 'sqlite'
          ? sqliteDialect(url.path, options.clock, watch)
          : postgresDialect(
              {
                connectionString: url.connectionString,
                host: url.host,
                ...(options.tls === undefined ? {} : { tls: options.tls }),
                poolSize: options.poolSize ?? 10,
                connectTimeoutMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
                queryTimeoutMs: options.queryTimeoutMs ?? 30_000,
                log: options.log,
              },
              watch,
            ),
    })
  }

  /** Waits for the database, then brings it to this program's schema. */
  start(): Promise<void> {
    this.starting ??= this.open()
    return this.starting
  }

  /** Closes the connections; statements in hand finish first. */
  stop(): Promise<void> {
    this.closing ??= this.close()
    return this.closing
  }

  /** State as of the last statement, without I/O. */
  health(): DependencyHealth {
    if (this.failure === null) return { state: 'up' }
    return { state: 'down', detail: this.failure }
  }

  /**
   * Runs `work` in one transaction: all of it or nothing. When another transaction is in the way it runs again from
   * the start, so `work` must have no effect outside the transaction.
   */
  async transaction<T>(work: (transaction: Transaction<Database>) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.kysely.transaction().execute(work)
      } catch (error) {
        if (failureKind(error) !== 'contended' || attempt + 1 >= TRANSACTION_TRIES_MAX) throw error
        const delayMs = fullJitterMs(attempt, CONTENTION_BACKOFF, this.random)
        await sleep(this.options.clock, delayMs, this.stopping.signal)
      }
    }
  }

  private async open(): Promise<void> {
    const { clock, log, startTimeoutMs = 30_000, probePeriodMs = 2_000, migrations = MIGRATIONS } = this.options
    if (this.readableOnTheWay) {
      log.warn(
        { database: this.shownUrl },
        'the connection to PostgreSQL is not encrypted: set database.tls.enabled, unless the network or a proxy does it',
      )
    }
    const giveUpAtMs = clock.monotonicMs() + startTimeoutMs
    const applied = await retry(
      () => migrate({ kysely: this.kysely, dialect: this.dialect, migrations, nowMs: clock.wallMs() }),
      {
        clock,
        random: this.random,
        backoff: START_BACKOFF,
        signal: this.stopping.signal,
        isRetryable: (error) => isRetryable(error) && clock.monotonicMs() < giveUpAtMs,
        onRetry: (error, attempt) => {
          if (attempt % 10 === 0) log.warn({ error: messageOf(error) }, 'waiting for the database')
        },
      },
    )
    for (const { number, name } of applied) log.info({ number, name }, 'migration applied')
    log.info({ database: this.shownUrl }, 'database ready')
    if (this.stopping.signal.aborted) return
    this.timer = clock.every(probePeriodMs, () => {
      this.probing ??= this.probe().finally(() => {
        this.probing = null
      })
    })
  }

  private async close(): Promise<void> {
    this.stopping.abort()
    this.timer?.cancel()
    await this.starting?.catch(() => undefined)
    await this.probing
    await this.kysely.destroy()
    this.failure = 'stopped'
  }

  /** Its outcome is noted by the watch, like that of every statement; an answer that does not come, here. */
  private async probe(): Promise<void> {
    const { clock, connectTimeoutMs = CONNECT_TIMEOUT_MS } = this.options
    const patience = clock.after(connectTimeoutMs, () => {
      this.noteFailure(new Error(`timeout expired: no answer within ${connectTimeoutMs} ms`))
    })
    try {
      await this.kysely.selectFrom('schema_migrations').select('number').limit(1).execute()
    } catch {
      // noteFailure has it.
    } finally {
      patience.cancel()
    }
  }

  private noteSuccess(): void {
    if (this.failure === null) return
    if (this.failure !== 'not started') this.options.log.info({ database: this.shownUrl }, 'database is back')
    this.failure = null
  }

  private noteFailure(error: unknown): unknown {
    const translated = translate(error, this.shownUrl)
    const kind = failureKind(error)
    if (kind === 'unavailable' || kind === 'refused') {
      const detail = translated instanceof BusbarError ? `${translated.message}; ${translated.hint}` : messageOf(error)
      if (this.failure === null) this.options.log.error({ error: messageOf(translated) }, 'database is not available')
      this.failure = detail
    }
    return translated
  }
}

/** Whether what is sent there stays on this machine: a Unix socket or loopback. */
function isLocal(host: string): boolean {
  return host.startsWith('/') || isLoopback(host)
}
