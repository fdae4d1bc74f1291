import { cp, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadSessions, sessionsPath } from '../../../../edge/broker/persistence/open-sessions.ts'
import { SessionJournal } from '../../../../edge/broker/persistence/session-journal.ts'
import { SessionRegister } from '../../../../edge/broker/persistence/session-register.ts'
import { systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'
import { tempDir } from '../../../support/temp-dir.ts'
import { until } from '../../../support/until.ts'

const tools = { clock: systemClock, random: systemRandom, log: silentLogger }
const session = (clientId: string) => ({ kind: 'session', clientId, owner: 'user:x', awayMs: 0 }) as const

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
    const options = { journal, sessionsMax: 10, forget: (id: string) => forgotten.push(id), evicted: () => undefined }
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
})
