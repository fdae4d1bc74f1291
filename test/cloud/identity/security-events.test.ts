import { join } from 'node:path'
import { Writable } from 'node:stream'
import pino from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { type DatabaseHandle, openDatabase } from '../../../cloud/database/database.ts'
import { type SecurityEvent, SecurityEvents } from '../../../cloud/identity/security-events.ts'
import type { Notice, Notifier } from '../../../cloud/notifications/notifications.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { notificationCore } from '../../support/notification-core.ts'
import { tempDir } from '../../support/temp-dir.ts'

const STOLEN: SecurityEvent = { kind: 'refresh-token-reused', subject: 'ann', detail: 'Twice.', address: '192.0.2.7' }

async function database(): Promise<DatabaseHandle> {
  const url = `sqlite:${join(await tempDir(), 'busbar.db')}`
  const handle = openDatabase({ url, clock: systemClock, log: silentLogger })
  await handle.start()
  onTestFinished(() => handle.stop())
  return handle
}

async function addUser({ kysely }: DatabaseHandle, id: string, siteId: number | null, status = 'active') {
  await kysely.insertInto('users').values({ id, status, created_at_ms: 1, updated_at_ms: 1 }).execute()
  if (siteId === null) return
  await kysely.insertInto('user_grants').values({ user_id: id, role: 'admin', site_id: siteId }).execute()
}

function securityEvents(handle: DatabaseHandle, notifier: Notifier) {
  const clock = new ManualClock()
  const lines: string[] = []
  const write = (line: Buffer, _encoding: string, done: () => void) => {
    lines.push(String(line))
    done()
  }
  const log = pino({ level: 'info' }, new Writable({ write }))
  const events = new SecurityEvents({ database: handle, notifier, clock, random: systemRandom, log })
  return { events, clock, lines, settled: () => events.stop(AbortSignal.timeout(5_000)) }
}

function recordingNotifier(): Notifier & { notices: Notice[] } {
  const notices: Notice[] = []
  return { notices, notify: async (told) => void notices.push(...told), nudge: () => undefined }
}

test('the administrators of everything are told of a grave event, and nobody else', async () => {
  const handle = await database()
  await addUser(handle, 'root', 0)
  await addUser(handle, 'gone', 0, 'disabled')
  await addUser(handle, 'of-a-site', 1)
  await addUser(handle, 'nobody', null)
  const core = notificationCore(handle)
  const { events, settled } = securityEvents(handle, core.notifications)
  events.note(STOLEN)
  await settled()
  const told = await core.notifications.inbox.list('root')
  expect(told.items).toMatchObject([
    { type: 'SECURITY_ALERT', severity: 'CRITICAL', content: 'ann: Twice. (from 192.0.2.7)', relatedEntityId: 'ann' },
  ])
  for (const other of ['gone', 'of-a-site', 'nobody', 'ann']) {
    expect((await core.notifications.inbox.list(other)).items).toEqual([])
  }
})

test('a flood is counted whole, and told once a subject and a window', async () => {
  const handle = await database()
  await addUser(handle, 'root', 0)
  const notifier = recordingNotifier()
  const { events, clock, lines, settled } = securityEvents(handle, notifier)
  for (let i = 0; i < 1_000; i++) events.note(STOLEN)
  clock.advance(600_000)
  events.note(STOLEN)
  await settled()
  expect(events.stats()['refresh-token-reused']).toBe(1_001)
  expect(lines).toHaveLength(2)
  expect(JSON.parse(lines[1] as string)).toMatchObject({ subject: 'ann', again: 999 })
  expect(notifier.notices.map(({ key }) => key)).toHaveLength(2)
  expect(new Set(notifier.notices.map(({ key }) => key)).size).toBe(2)
})

test('a flood of ever other subjects fills neither the log nor the memory, and other kinds are still told', async () => {
  const handle = await database()
  await addUser(handle, 'root', 0)
  const notifier = recordingNotifier()
  const { events, lines, settled } = securityEvents(handle, notifier)
  for (let i = 0; i < 5_000; i++) events.note({ ...STOLEN, kind: 'user-locked-out', subject: `made-up-${i}` })
  events.note(STOLEN)
  await settled()
  expect(events.stats()['user-locked-out']).toBe(5_000)
  expect(lines.length).toBeLessThan(50)
  expect(notifier.notices.at(-1)).toMatchObject({ relatedEntityId: 'ann' })
})

test('what anybody can cause at will is counted and logged, and nobody is woken for it', async () => {
  const handle = await database()
  await addUser(handle, 'root', 0)
  const notifier = recordingNotifier()
  const { events, lines, settled } = securityEvents(handle, notifier)
  events.note({ kind: 'link-refused', subject: 'a\u0000b\nc', detail: 'An unknown link was used.' })
  await settled()
  expect(JSON.parse(lines[0] as string)).toMatchObject({ security: 'link-refused', subject: 'a?b?c' })
  expect(notifier.notices).toEqual([])
})

test('an alert outlasts a database that is away for a while', async () => {
  const handle = await database()
  await addUser(handle, 'root', 0)
  const notifier = recordingNotifier()
  let failures = 2
  const flaky = new Proxy(handle, {
    get: (target, name: keyof DatabaseHandle) => {
      if (name !== 'transaction' || failures-- <= 0) {
        const value = target[name]
        return typeof value === 'function' ? value.bind(target) : value
      }
      return () => Promise.reject(Object.assign(new Error('gone'), { code: 'ECONNREFUSED' }))
    },
  })
  const { events, clock, settled } = securityEvents(flaky, notifier)
  events.note(STOLEN)
  for (let i = 0; i < 100 && notifier.notices.length === 0; i++) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    clock.advance(30_000)
  }
  expect(notifier.notices).toHaveLength(1)
  await settled()
})
