/** PostgreSQL for Kysely: a pool that survives the server's death, and integers as numbers. */

import { type ConnectionOptions, checkServerIdentity } from 'node:tls'
import {
  type Dialect,
  PostgresAdapter,
  PostgresDriver,
  PostgresIntrospector,
  type PostgresPool,
  type PostgresPoolClient,
  PostgresQueryCompiler,
} from 'kysely'
import pg from 'pg'
import type { Logger } from '../../shared/log.ts'
import { TLS_VERSION_MIN } from '../../shared/tls.ts'
import { failureKind } from './failure.ts'
import { type StatementWatch, WatchedDriver } from './watched-driver.ts'

/** Object identifier of int8, the type of sequences, times and counts. */
const INT8 = 20
/**
 * A core that froze inside a transaction lets go of its locks after this long, milliseconds: others wait for them to take its
 * work over. Longer than any pause of a core that works.
 */
const IDLE_IN_TRANSACTION_MS = 5_000
const SESSION_SETTINGS = `
  select set_config('idle_in_transaction_session_timeout', $1, false), set_config('statement_timeout', $2, false)`

export interface PostgresTls {
  /** PEM. Without it the system's authorities are trusted. */
  readonly ca?: string
  /** PEM certificate and key of this client. */
  readonly cert?: string
  readonly key?: string
  /** Name that the server's certificate carries, where it is not that of the host. */
  readonly serverName?: string
}

export interface PostgresOptions {
  readonly connectionString: string
  readonly host: string
  /** Without it the connection is not encrypted. */
  readonly tls?: PostgresTls
  readonly poolSize: number
  readonly connectTimeoutMs: number
  readonly queryTimeoutMs: number
  readonly log: Logger
}

/** The pool is made when the first statement runs. */
export function postgresDialect(options: PostgresOptions, watch: StatementWatch): Dialect {
  return {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new WatchedDriver(new PostgresDriver({ pool: async () => openPool(options) }), watch),
    createIntrospector: (kysely) => new PostgresIntrospector(kysely),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  }
}

function openPool(options: PostgresOptions): PostgresPool {
  const { queryTimeoutMs, log } = options
  const pool = new pg.Pool({
    connectionString: options.connectionString,
    // Written out: left open, it would be for PGSSLMODE to say.
    ssl: options.tls === undefined ? false : tlsOptions(options.tls, options.host),
    application_name: 'busbar-cloud',
    max: options.poolSize,
    connectionTimeoutMillis: options.connectTimeoutMs,
    query_timeout: queryTimeoutMs,
    keepAlive: true,
    types: {
      getTypeParser: ((oid: number, format: 'text') =>
        oid === INT8 ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
    },
    // The pool awaits it, whatever its type says.
    onConnect: ((client: pg.ClientBase) =>
      client.query(SESSION_SETTINGS, [String(IDLE_IN_TRANSACTION_MS), String(queryTimeoutMs)])) as (
      client: pg.ClientBase,
    ) => void,
  })
  // A client's error event without a listener ends the process: idle ones are heard by the pool, lent ones by us. The
  // statement in hand fails anyway, so nothing is lost by only noting it.
  const note = (error: Error) => log.debug({ error: error.message }, 'a connection to PostgreSQL was lost')
  pool.on('error', note)
  pool.on('connect', (client) => void client.on('error', note))
  return {
    options: {},
    connect: async () => lend(await pool.connect()),
    end: () => pool.end(),
  }
}

/** What libpq calls verify-full: an authority that is trusted, and the name that was meant. */
function tlsOptions({ serverName, ...files }: PostgresTls, host: string): ConnectionOptions {
  return {
    ...files,
    minVersion: TLS_VERSION_MIN,
    rejectUnauthorized: true,
    // The driver overrides the server name that it is given, so the name is held against the certificate here.
    checkServerIdentity: (_asked, certificate) => checkServerIdentity(serverName ?? host, certificate),
  }
}

/** A client as lent for one piece of work; one whose connection is in doubt is closed when it comes back. */
function lend(client: pg.PoolClient): PostgresPoolClient {
  let doubtful = false
  const query = async (sql: string, parameters: readonly unknown[]) => {
    try {
      return await client.query(sql, parameters as unknown[])
    } catch (error) {
      doubtful ||= failureKind(error) === 'unavailable'
      throw error
    }
  }
  return {
    // Kysely's second form of query is for cursors, which nothing here uses.
    query: query as unknown as PostgresPoolClient['query'],
    release: (destroy) => client.release(destroy === true || doubtful),
  }
}
