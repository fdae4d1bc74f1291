import { cp, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadSessions, sessionsPath } from '../../../../edge/broker/persistence/open-sessions.ts'
import { SessionJournal } from '../../../../edge/broker/persistence/session-journal.ts'
import { SessionRegister } from '../../../../edge/broker/persistence/session-register.ts'
import { systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'
import { openSqlite } from '../../../../shared/sqlite.ts'
import { tempDir } from '../../../support/temp-dir.ts'
import { until } from '../../../support/until.ts'

const tools = { clock: systemClock, random: systemRandom, log: silentLogger }
const session = (clientId: string) => ({ kind: 'session', clientId, owner: 'user:x', awayMs: 0, name: 'n' }) as const

function journalIn(dir: string, changesMax = 1000): SessionJournal {
  return new SessionJournal({ path: sessionsPath(dir), changesMax, ...tools })
}

/** A directory with what is on disk now, while the journal still has the file to itself. */
async function asAfterPowerCut(dir: string): Promise<string> {
  const copy = await tempDir()
  await cp(dir, copy, { recursive: true })
  return copy
}

describe('the journal of sessions', () => {
  test('has on disk what it called durable', async () => {
    const dir = await tempDir()
    const journal = journalIn(dir)
    for (let i = 0; i < 100; i++) journal.append(session(`c${i}`))
    await journal.durable()
    expect(loadSessions(await asAfterPowerCut(dir), silentLogger).sessions).toHaveLength(100)
    journal.append({ kind: 'forget', clientId: 'c0' })
    await journal.close()
    expect(loadSessions(dir, silentLogger).sessions).toHaveLength(99)
  })

  test('starts no thread and writes no file while nothing changes', async () => {
    const dir = await tempDir()
    const journal = journalIn(dir)
    await journal.durable()
    await journal.close()
    await expect(Bun.file(sessionsPath(dir)).exists()).resolves.toBe(false)
  })

  test('holds up nobody while the disk refuses, and catches up in order', async () => {
    const dir = await tempDir()
    // A directory in the place of the file.
    await mkdir(sessionsPath(dir))
    const journal = journalIn(dir)
    journal.append(session('one'))
    await journal.durable()
    expect(journal.failing).not.toBeNull()
    journal.append(session('two'))
    journal.append({ kind: 'forget', clientId: 'one' })
    await journal.durable()
    await rm(sessionsPath(dir), { recursive: true })
    await until(() => journal.failing === null)
    await journal.close()
    expect(loadSessions(dir, silentLogger).sessions.map(({ clientId }) => clientId)).toEqual(['two'])
  })

  test('gives up, and says so, when too much waits for the disk', async () => {
    const dir = await tempDir()
    await mkdir(sessionsPath(dir))
    const journal = journalIn(dir, 10)
    for (let i = 0; i < 100; i++) {
      journal.append(session(`c${i}`))
      await journal.durable()
    }
    expect(journal.failing).toMatch(/until the next start/)
    await journal.close()
  })

  test('leaves the file alone when it could not be read at the start', async () => {
    const dir = await tempDir()
    const path = sessionsPath(dir)
    const journal = new SessionJournal({ path, changesMax: 10, unavailable: 'the disk is full', ...tools })
    journal.append(session('one'))
    await journal.durable()
    expect(journal.failing).toBe('the disk is full')
    await journal.close()
    await expect(Bun.file(path).exists()).resolves.toBe(false)
  })

  test('makes its directory', async () => {
    const dir = join(await tempDir(), 'a', 'b')
    expect(loadSessions(dir, silentLogger).sessions).toEqual([])
    const journal = journalIn(dir)
    journal.append(session('x'))
    await journal.close()
    expect(loadSessions(dir, silentLogger).sessions).toHaveLength(1)
  })
})

describe('the register of sessions', () => {
  test('removes those that do not return, counting only time that passed while the gateway ran', async () => {
    const dir = await tempDir()
    const journal = journalIn(dir)
    const forgotten: string[] = []
    const forget = (id: string) => forgotten.push(id)
    const options = { journal, random: systemRandom, sessionsMax: 10, forget, evicted: () => undefined }
    const register = new SessionRegister(options)
    register.open('here', 'user:a', false)
    register.open('away', 'user:b', false)
    register.close('away')
    expect(register.age(600, 1000)).toBe(0)
    await journal.durable()
    const afterRestart = new SessionRegister(options)
    for (const each of loadSessions(await asAfterPowerCut(dir), silentLogger).sessions) afterRestart.restore(each)
    expect(afterRestart.ownerOf('away')).toBe('user:b')
    expect(afterRestart.open('here', 'user:a', false)).toBe(true)
    expect(afterRestart.age(400, 1000)).toBe(1)
    expect(forgotten).toEqual(['away'])
    expect(afterRestart.ownerOf('away')).toBeNull()
    expect(afterRestart.size).toBe(1)
    await journal.close()
  })

  test('makes room at the cost of who wants it: no device drives out the sessions of others', async () => {
    const journal = journalIn(await tempDir())
    const forgotten: string[] = []
    const forget = (id: string) => forgotten.push(id)
    const register = new SessionRegister({ journal, random: systemRandom, sessionsMax: 3, forget, evicted: () => {} })
    const openAndLeave = (clientId: string, owner: string): void => {
      register.open(clientId, owner, false)
      register.close(clientId)
    }
    openAndLeave('screen', 'user:scada')
    for (let i = 1; i <= 5; i++) openAndLeave(`boot-${i}`, 'device:1/INV-001')
    expect(forgotten).toEqual(['boot-1', 'boot-2', 'boot-3'])
    openAndLeave('other', 'device:1/INV-002')
    expect(forgotten.slice(3)).toEqual(['screen'])
    await journal.close()
  })

  test('keeps the name of a session over restarts, and never gives it to another one', async () => {
    const dir = await tempDir()
    const journal = journalIn(dir)
    const options = {
      journal,
      random: systemRandom,
      sessionsMax: 10,
      forget: () => undefined,
      evicted: () => undefined,
    }
    const register = new SessionRegister(options)
    register.open('a', 'user:a', false)
    register.open('b', 'user:b', false)
    const name = register.nameOf('a')
    register.close('a')
    await journal.durable()
    const afterRestart = new SessionRegister(options)
    for (const each of loadSessions(await asAfterPowerCut(dir), silentLogger).sessions) afterRestart.restore(each)
    afterRestart.open('a', 'user:a', false)
    expect(afterRestart.nameOf('a')).toBe(name)
    expect(afterRestart.nameOf('b')).not.toBe(name)
    afterRestart.open('a', 'user:a', true)
    expect(afterRestart.nameOf('a')).toBeNull()
    afterRestart.open('a', 'user:a', false)
    expect(afterRestart.nameOf('a')).not.toBe(name)
    await journal.close()
  })

  test('names sessions that an earlier version stored', async () => {
    const dir = await tempDir()
    const database = openSqlite(sessionsPath(dir))
    database.exec(`
      CREATE TABLE sessions (client_id TEXT PRIMARY KEY, owner TEXT NOT NULL, away_ms INTEGER NOT NULL) WITHOUT ROWID;
      CREATE TABLE subscriptions (client_id TEXT, topic TEXT, options TEXT);
      CREATE TABLE queued (position INTEGER PRIMARY KEY, client_id TEXT NOT NULL, fields TEXT NOT NULL, payload BLOB);
      CREATE TABLE received (client_id TEXT, message_id INTEGER, fields TEXT, payload BLOB);
      CREATE TABLE retained (topic TEXT PRIMARY KEY, fields TEXT NOT NULL, payload BLOB);
      CREATE TABLE wills (client_id TEXT PRIMARY KEY, fields TEXT NOT NULL, payload BLOB);
      INSERT INTO sessions VALUES ('a', 'user:a', 5), ('b', 'user:b', 7);
      PRAGMA user_version = 1;
    `)
    database.close()
    const { sessions } = loadSessions(dir, silentLogger)
    expect(sessions).toMatchObject([
      { clientId: 'a', owner: 'user:a', awayMs: 5 },
      { clientId: 'b', owner: 'user:b', awayMs: 7 },
    ])
    expect(sessions[0]?.name).toMatch(/^[0-9a-f]{16}$/)
    expect(sessions[1]?.name).not.toBe(sessions[0]?.name)
  })
})
