import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pino from 'pino'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { type DatabaseHandle, type DatabaseOptions, openDatabase } from '../../../cloud/database/database.ts'
import { systemClock } from '../../../shared/clock.ts'
import type { BusbarError } from '../../../shared/errors.ts'
import { silentLogger } from '../../../shared/log.ts'
import { newAuthority } from '../../support/certificates.ts'
import { startPostgres, type TestPostgres } from '../../support/postgres.ts'

const dir = mkdtempSync(join(tmpdir(), 'busbar-pg-tls-'))
const authority = newAuthority(dir)
const stranger = newAuthority(dir, 'stranger')
const client = authority.issue('busbar')

const postgres = await startPostgres({
  ...authority.issue('db', 'DNS:db.internal,IP:127.0.0.1'),
  ca: authority.ca,
  hba: [
    'hostssl test_1 busbar 127.0.0.1/32 password',
    'hostssl test_2 busbar 127.0.0.1/32 password clientcert=verify-ca',
  ],
})

afterAll(async () => {
  await postgres?.stop()
  rmSync(dir, { recursive: true, force: true })
})

function open(url: string, tls?: DatabaseOptions['tls']): DatabaseHandle {
  const handle = openDatabase({
    url,
    ...(tls === undefined ? {} : { tls }),
    migrations: [],
    startTimeoutMs: 0,
    clock: systemClock,
    log: silentLogger,
  })
  onTestFinished(() => handle.stop())
  return handle
}

/** The refusal of a database that does not start. */
async function refusal(url: string, tls?: DatabaseOptions['tls']): Promise<BusbarError> {
  const error = await open(url, tls)
    .start()
    .then(
      () => null,
      (thrown: unknown) => thrown,
    )
  expect(error).toMatchObject({ code: 'DATABASE_REFUSED', retryable: false })
  return error as BusbarError
}

/** Protocol of the connection that is asked over; null without TLS. */
async function protocolOf({ kysely }: DatabaseHandle): Promise<string | null> {
  const { sql } = await import('kysely')
  const { rows } = await sql<{ version: string | null }>`
    select version from pg_stat_ssl where pid = pg_backend_pid()`.execute(kysely)
  return rows[0]?.version ?? null
}

describe.skipIf(postgres === null)('PostgreSQL over TLS', async () => {
  const server = postgres as TestPostgres
  const url = server === null ? '' : await server.freshUrl()
  const mutual = server === null ? '' : await server.freshUrl()

  it('is taken when a trusted authority vouches for it and it has the name that was meant', async () => {
    const byAddress = open(url, { ca: authority.ca })
    await byAddress.start()
    expect(await protocolOf(byAddress)).toBe('TLSv1.3')
    const byName = open(url.replace('127.0.0.1', 'localhost'), { ca: authority.ca, serverName: 'db.internal' })
    await byName.start()
    expect(await protocolOf(byName)).toBe('TLSv1.3')
  })

  it('is refused when a stranger vouches for it, or nobody', async () => {
    for (const tls of [{ ca: stranger.ca }, {}]) {
      const { message, hint } = await refusal(url, tls)
      expect(message).toMatch(/certificate/)
      expect(message).not.toContain('test-only')
      expect(hint).toContain('database.tls')
    }
  })

  it('is refused under another name', async () => {
    const expected = { hint: expect.stringContaining('serverName') }
    expect(await refusal(url.replace('127.0.0.1', 'localhost'), { ca: authority.ca })).toMatchObject(expected)
    expect(await refusal(url, { ca: authority.ca, serverName: 'db.elsewhere' })).toMatchObject(expected)
  })

  it('can insist on TLS, and on a certificate of ours', async () => {
    expect((await refusal(url)).hint).toContain('database.tls')
    await refusal(mutual, { ca: authority.ca })
    const handle = open(mutual, { ca: authority.ca, ...client })
    await handle.start()
    expect(await protocolOf(handle)).toBe('TLSv1.3')
  })

  it('says that a password is wrong, and not what it is', async () => {
    const handle = open(url.replace('test-only', 'wrong-password'), { ca: authority.ca })
    await expect(handle.start()).rejects.toThrow(/refuses: password authentication failed/)
    expect(handle.health()).toMatchObject({ state: 'down', detail: expect.stringContaining('check database.url') })
    expect(handle.health().detail).not.toContain('wrong-password')
  })
})

describe('PostgreSQL without TLS', () => {
  it('is warned of once, when it is on another machine', async () => {
    const warnings: string[] = []
    const log = pino({ level: 'warn' }, { write: (line: string) => void warnings.push(line) })
    const start = async (host: string) => {
      const handle = openDatabase({
        url: `postgres://busbar:test-only@${host}/x`,
        startTimeoutMs: 0,
        connectTimeoutMs: 200,
        clock: systemClock,
        log,
      })
      await handle.start().catch(() => undefined)
      await handle.stop()
      return warnings.splice(0).filter((line) => line.includes('not encrypted'))
    }
    // Port 1 of our own network: nobody answers, and nobody has to.
    const [line, ...more] = await start('192.0.2.1:1')
    expect(line).toContain('database.tls.enabled')
    expect(line).not.toContain('test-only')
    expect(more).toEqual([])
    expect(await start('127.0.0.1:1')).toEqual([])
  })
})
