import { expect, it } from 'vitest'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { activityKeys, NEW_KEY, OLD_KEY } from '../../support/activity-log.ts'
import { clockAt, type ProcessorOptions, processorOver } from '../../support/activity-processor.ts'
import { activityValue } from '../../support/activity-values.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'

const NOON = Date.UTC(2026, 0, 31, 12)
const SECOND = 1_000
const MINUTE = 60_000
const DAY = 86_400_000

async function addUser(
  { kysely }: DatabaseHandle,
  id: string,
  role: 'admin' | 'auditor' | 'operator',
  siteId: number,
  status: 'active' | 'disabled' = 'active',
): Promise<void> {
  const user = { id, status, created_at_ms: 1, updated_at_ms: 1 }
  await kysely.insertInto('users').values(user).execute()
  await kysely.insertInto('user_grants').values({ user_id: id, role, site_id: siteId }).execute()
}

await describeOnEveryDatabase('suspicious activities', (databases) => {
  async function start(suspicion: ProcessorOptions['suspicion'], options: ProcessorOptions = {}) {
    const database = await databases.open()
    await addUser(database, 'root', 'admin', 0)
    const at = { ms: NOON }
    const core = await processorOver(database, clockAt(at), { suspicion: suspicion ?? {}, ...options })
    let n = 0
    /** One activity of ann after some milliseconds; what was told because of it, to whom, and what dashboards got. */
    const after = async (ms: number, activityType: string, members: object = {}) => {
      at.ms += ms
      const { userId = 'ann', atMs = at.ms, ...given } = members as { userId?: string; atMs?: number }
      const value = activityValue(userId, ++n, { activityType, timestamp: new Date(atMs).toISOString() })
      await core.deliver({ ...value, ...given })
      const told = await database.kysely.selectFrom('notifications').select('user_id').orderBy('user_id').execute()
      await database.kysely.deleteFrom('notifications').execute()
      const patterns = (await core.takeOutbox()).flatMap(({ pattern }) => (pattern === undefined ? [] : [pattern]))
      return [...patterns, ...told.map(({ user_id }) => user_id)].join(' ')
    }
    const login = (ms: number, ipAddress: string, members: object = {}) =>
      after(ms, 'login', { outcome: 'SUCCESS', metadata: { ipAddress }, ...members })
    return { ...core, database, at, after, login }
  }

  it('of many failed logins are told to administrators and auditors of everything, once for a while', async () => {
    const { after, database, processor } = await start({ failedLogins: 3 })
    await addUser(database, 'audit', 'auditor', 0)
    await addUser(database, 'audit-7', 'auditor', 7)
    await addUser(database, 'ops', 'operator', 0)
    await addUser(database, 'gone', 'admin', 0, 'disabled')
    const failure = { outcome: 'FAILURE' }
    expect(await after(0, 'login', failure)).toBe('')
    expect(await after(MINUTE, 'login_failed')).toBe('')
    expect(await after(0, 'login', { outcome: 'SUCCESS' })).toBe('')
    expect(await after(0, 'login', { ...failure, userId: 'bob' })).toBe('')
    expect(await after(MINUTE, 'login', { outcome: 'REFUSED' })).toBe('FAILED_LOGINS audit root')
    expect(await after(MINUTE, 'login', failure)).toBe('')
    expect(await after(4 * MINUTE, 'login', failure)).toBe('')
    expect(await after(0, 'login', failure)).toBe('FAILED_LOGINS audit root')
    expect(processor.stats().suspicions).toEqual({
      FAILED_LOGINS: 2,
      COMMAND_BURST: 0,
      NEW_ADDRESS: 0,
      UNUSUAL_HOUR: 0,
    })
  })

  it('of many commands are told when they are within the time, however long a window is', async () => {
    const { after } = await start({ commands: 3 }, { windowMs: 3_600_000 })
    expect(await after(0, 'command')).toBe('')
    expect(await after(30 * SECOND, 'task')).toBe('')
    expect(await after(30 * SECOND, 'command')).toBe('')
    expect(await after(29 * SECOND, 'command', { outcome: 'REFUSED' })).toBe('COMMAND_BURST root')
  })

  it('are found in one batch as in many, and told with what they are', async () => {
    const { deliver, database, takeOutbox } = await start({ commands: 50 })
    const timestamp = new Date(NOON).toISOString()
    const commands = Array.from({ length: 200 }, (_, n) =>
      activityValue('ann', n, { activityType: 'command', timestamp }),
    )
    await deliver(...commands.map((command) => ({ ...command })))
    const rows = await database.kysely.selectFrom('notifications').selectAll().execute()
    expect(rows).toHaveLength(1)
    expect(rows[0]).toMatchObject({
      ...{ type: 'SECURITY_ALERT', severity: 'WARNING', user_id: 'root', related_entity_id: 'ann' },
      content: 'ann: 50 commands and tasks or more within 60 s (entry evt_ann_199 of the activity log)',
    })
    const [suspicion] = (await takeOutbox()).filter(({ kind }) => kind === 'SUSPICION')
    expect(suspicion).toMatchObject({
      ...{ topic: 'user-activity-analytics', pattern: 'COMMAND_BURST', userId: 'ann', count: 50 },
      ...{
        causedBy: 'evt_ann_199',
        timestamp,
        windowEnd: timestamp,
        windowStart: new Date(NOON - MINUTE).toISOString(),
      },
    })
  })

  it('of a login from a new address are told, unless it is the first or in a known network', async () => {
    const { login, after, database } = await start({ newAddress: true, addressDays: 30 })
    expect(await login(0, '10.0.0.1')).toBe('')
    expect(await login(0, '10.0.0.1')).toBe('')
    expect(await login(0, '10.0.0.2', { outcome: 'FAILURE' })).toBe('')
    expect(await after(0, 'page_view', { metadata: { ipAddress: '10.0.0.3' } })).toBe('')
    expect(await login(0, '10.0.0.2', { recordedBy: 'ann' })).toBe('')
    expect(await login(0, '10.0.0.2')).toBe('NEW_ADDRESS root')
    expect(await login(0, '10.0.0.2')).toBe('')
    expect(await login(0, '2001:db8:1:2::1')).toBe('NEW_ADDRESS root')
    expect(await login(0, '2001:db8:1:2:3::9')).toBe('')
    expect(await login(0, '10.0.0.2', { userId: 'bob' })).toBe('')
    expect(await login(20 * DAY, '10.0.0.2')).toBe('')
    expect(await login(20 * DAY, '10.0.0.1')).toBe('NEW_ADDRESS root')
    const kept = await database.kysely.selectFrom('activity_addresses').select('address_hash').execute()
    expect(kept.map((row) => row.address_hash).join()).not.toMatch(/10\.0|2001/)
  })

  it('know an address again after the keys were changed', async () => {
    const { login, database, at } = await start({ newAddress: true }, { keys: activityKeys(OLD_KEY) })
    await login(0, '10.0.0.1')
    const rotated = await processorOver(database, clockAt(at), {
      keys: activityKeys(NEW_KEY, OLD_KEY),
      suspicion: { newAddress: true },
    })
    const timestamp = new Date(NOON).toISOString()
    const again = activityValue('ann', 99, { activityType: 'login', timestamp, metadata: { ipAddress: '10.0.0.1' } })
    await rotated.deliver({ ...again })
    expect(rotated.processor.stats()).toMatchObject({ stored: 1, suspicions: { NEW_ADDRESS: 0 } })
  })

  it('of a login at an unusual hour are told once the usual ones are known, once a night', async () => {
    const { login } = await start({ unusualHours: true, unusualHoursDays: 5 })
    expect(await login(0, '10.0.0.1')).toBe('')
    expect(await login(12 * 60 * MINUTE, '10.0.0.1')).toBe('')
    for (let day = 0; day < 4; day++) expect(await login(day === 0 ? 12 * 60 * MINUTE : DAY, '10.0.0.1')).toBe('')
    expect(await login(60 * MINUTE, '10.0.0.1')).toBe('')
    expect(await login(14 * 60 * MINUTE, '10.0.0.1')).toBe('UNUSUAL_HOUR root')
    expect(await login(2 * 60 * MINUTE, '10.0.0.1')).toBe('')
  })

  it('that were long ago are learnt from, and not told', async () => {
    const { login, after } = await start({ newAddress: true, failedLogins: 1 })
    const atMs = NOON - 2 * DAY
    await login(0, '10.0.0.1', { atMs })
    expect(await login(0, '10.0.0.2', { atMs })).toBe('')
    expect(await after(0, 'login_failed', { atMs })).toBe('')
    expect(await login(0, '10.0.0.2')).toBe('')
  })

  it('are told to subscribers where nobody logs in', async () => {
    const { after, database } = await start({ failedLogins: 1 })
    await database.kysely.deleteFrom('user_grants').execute()
    await database.kysely.deleteFrom('users').execute()
    const preferences = JSON.stringify({ subscribed: true })
    await database.kysely
      .insertInto('notification_preferences')
      .values({ user_id: 'watcher', preferences, created_at_ms: 1, updated_at_ms: 1 })
      .execute()
    expect(await after(0, 'login_failed')).toBe('FAILED_LOGINS watcher')
  })
})
