/** What the journal of MQTT sessions does not need: results, changes tried once, a probe, and a file set aside. */

import { mkdir, rm, writeFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { inboxPath } from '../../../edge/commands/inbox-file.ts'
import type { InboxChange, InboxOutcome } from '../../../edge/commands/inbox-tables.ts'
import { GroupJournal } from '../../../edge/journal/group-journal.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { workerUrl } from '../../../shared/worker-url.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'

type Journal = GroupJournal<InboxChange, InboxOutcome>

interface JournalIn {
  readonly changesMax?: number
  readonly probe?: boolean
  readonly events?: string[]
  readonly startThread?: () => Worker
}

function journalIn(dir: string, options: JournalIn = {}): Journal {
  const { changesMax = 1000, probe = true, events = [] } = options
  return new GroupJournal<InboxChange, InboxOutcome>({
    path: inboxPath(dir),
    changesMax,
    startThread: options.startThread ?? (() => new Worker(workerUrl('edge/commands/inbox-worker.ts'))),
    texts: { refused: 'refused', stored: 'stored', gaveUp: 'too much waits' },
    ...(probe ? { probe: { kind: 'probe' } } : {}),
    onFailing: (failing) => void events.push(failing === null ? 'works' : 'fails'),
    onReplaced: (file) => void events.push(`set aside as ${file}`),
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  })
}

const receive = (commandId: string): InboxChange => ({
  kind: 'receive',
  commands: [{ commandId, siteId: 1, serialNumber: 'A', expiresAtMs: 0, timeoutMs: 0, payload: null }],
  room: 1,
})

describe('a journal', () => {
  test('tells each its own result, in order', async () => {
    const journal = journalIn(await tempDir())
    const positions: number[] = []
    for (const id of ['a', 'b', 'a']) {
      journal.append(receive(id), ({ admitted }) => void positions.push(admitted?.[0]?.position ?? 0))
    }
    const { admitted } = await journal.attempt(receive('b'))
    const [first = 0] = positions
    expect(admitted).toEqual([{ position: first + 1, isNew: false, isWaiting: true }])
    expect(positions).toEqual([first, first + 1, first])
    await journal.close()
  })

  test('drops what is tried once, keeps the rest, and finds out by itself that the disk works again', async () => {
    const dir = await tempDir()
    const events: string[] = []
    await mkdir(inboxPath(dir))
    const journal = journalIn(dir, { events })
    await expect(journal.attempt(receive('lost'))).rejects.toMatchObject({ code: 'JOURNAL_REFUSED', retryable: true })
    await expect(journal.attempt(receive('lost'))).rejects.toThrow()
    const kept: InboxOutcome[] = []
    journal.append(receive('kept'), (outcome) => void kept.push(outcome))
    await rm(inboxPath(dir), { recursive: true })
    await until(() => journal.failing === null && kept.length === 1)
    expect(events).toEqual(['fails', 'works'])
    const found = await journal.attempt({ ...receive('lost'), room: 0 } as InboxChange)
    expect(found.admitted?.[0]?.position).toBe(0)
    await journal.close()
    await expect(journal.attempt(receive('late'))).rejects.toThrow(/stopping/)
  })

  test('tries what waits when all that failed was tried once', async () => {
    const groups: (readonly InboxChange[])[] = []
    const events: string[] = []
    const thread = {
      onmessage: (_event: unknown): void => undefined,
      postMessage: ({ changes = [] }: { changes?: InboxChange[] }) => void groups.push(changes),
      terminate: () => undefined,
    }
    const answer = (error: string | null) => thread.onmessage({ data: { error, results: [], damagedFile: null } })
    const journal = journalIn(await tempDir(), { events, startThread: () => thread as never })
    const once = journal.attempt(receive('once'))
    await until(() => groups.length === 1)
    journal.append(receive('kept'))
    answer('disk full')
    await expect(once).rejects.toThrow('disk full')
    await until(() => groups.length === 2)
    // An empty group would succeed on a disk that is full.
    expect(groups[1]).toEqual([receive('kept')])
    answer(null)
    expect(events).toEqual(['fails', 'works'])
  })

  test('a file that is damaged while it is used is set aside, and the changes go to its successor', async () => {
    const dir = await tempDir()
    const events: string[] = []
    await writeFile(inboxPath(dir), 'no database at all '.repeat(300))
    const journal = journalIn(dir, { events })
    expect((await journal.attempt(receive('a'))).admitted?.[0]?.position).toBeGreaterThan(0)
    expect(events).toEqual(['set aside as commands.db.damaged'])
    await journal.close()
  })

  test('refuses what is tried once when it has given up', async () => {
    const dir = await tempDir()
    await mkdir(inboxPath(dir))
    const journal = journalIn(dir, { changesMax: 3 })
    for (let n = 0; n < 10; n++) {
      journal.append(receive(`c${n}`))
      await journal.durable()
    }
    expect(journal.failing).toBe('too much waits')
    await expect(journal.attempt(receive('x'))).rejects.toThrow('too much waits')
    await rm(inboxPath(dir), { recursive: true })
    await journal.close()
  })

  test('lets go whoever waits when it gives up while the disk is busy', async () => {
    const journal = journalIn(await tempDir(), { changesMax: 3, probe: false })
    journal.append(receive('c0'))
    // The first is on its way to the thread.
    await Promise.resolve()
    journal.append(receive('c1'))
    const waiting = journal.durable()
    for (let n = 2; n < 6; n++) journal.append(receive(`c${n}`))
    expect(journal.failing).toBe('too much waits')
    await waiting
    await journal.close()
  })
})
