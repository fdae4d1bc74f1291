/** What is told, to whom, and how often: in the database, on the topic, with one core and with several. */

import { expect, it } from 'vitest'
import { NOTIFICATIONS } from '../../../cloud/bus/catalogue.ts'
import type { DatabaseHandle } from '../../../cloud/database/database.ts'
import { type Notifications, SUBSCRIBERS } from '../../../cloud/notifications/notifications.ts'
import { bunPath, startChild } from '../../support/child.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { deviceNotice, named, notificationCore, someNotice } from '../../support/notification-core.ts'
import { numberedNotice } from '../../support/numbered-notice.ts'
import { embeddedBus } from '../../support/outbox-relay.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

const DAY_MS = 86_400_000

async function titlesOf(notifications: Notifications, userId: string) {
  return (await notifications.inbox.list(userId, { limit: 500 })).items.map(({ title }) => title).toReversed()
}

async function outboxed(database: DatabaseHandle) {
  const rows = await database.kysely.selectFrom('outbox').select(['key', 'value', 'headers']).orderBy('id').execute()
  return rows.map(({ key, value, headers }) => ({ key, headers, value: JSON.parse(value) }))
}

await describeOnEveryDatabase('notifications', (databases) => {
  it('are stored with their record, in the transaction of what they tell, once however often that is told', async () => {
    const database = await databases.open()
    const bus = await embeddedBus()
    const reader = await readTopics(bus, [NOTIFICATIONS])
    const { notifications, tell, publish } = notificationCore(database, bus)
    const notice = someNotice({ severity: 'CRITICAL', title: 'Zähler\0 \ud800', content: 'x'.repeat(5_000) })
    const undone = database.transaction(async (transaction) => {
      await notifications.notify([notice], transaction)
      throw new Error('undone')
    })
    await expect(undone).rejects.toThrow('undone')
    expect((await notifications.inbox.list('ann')).items).toEqual([])
    expect(await outboxed(database)).toEqual([])

    await tell(notice, notice)
    await tell(notice)
    await publish()
    await until(() => reader.records.length > 0)
    const [stored, ...others] = (await notifications.inbox.list('ann')).items
    expect(others).toEqual([])
    expect(stored).toMatchObject({ title: 'Zähler \ufffd', quiet: false, readAtMs: null, siteId: 1, atMs: notice.atMs })
    expect(stored?.id).toMatch(/^ntf-[0-9a-f]{24}$/)
    expect(stored?.content).toHaveLength(4_000)
    expect(reader.records).toMatchObject([{ topic: NOTIFICATIONS, key: 'ann', headers: { source: 'notification' } }])
    expect(JSON.parse(String(reader.records[0]?.value))).toEqual({
      id: stored?.id,
      userId: 'ann',
      title: stored?.title,
      content: stored?.content,
      type: 'TELEMETRY_ALERT',
      relatedEntityId: 'alert-1',
      read: false,
      createdAt: new Date(stored?.createdAtMs ?? 0).toISOString(),
      severity: 'CRITICAL',
      siteId: 1,
      quiet: false,
      occurredAt: new Date(notice.atMs).toISOString(),
    })
    expect(notifications.stats()).toMatchObject({ repeated: 2 })
  })

  it('reach those who are named and those who asked, by type, severity and site', async () => {
    const { notifications, tell } = notificationCore(await databases.open())
    const { preferences } = notifications
    await preferences.change('everything', {})
    await preferences.change('site-1', { sites: [1] })
    await preferences.change('critical', { types: { TELEMETRY_ALERT: { minSeverity: 'CRITICAL' } } })
    await preferences.change('none', { types: { TELEMETRY_ALERT: { enabled: false } } })
    await preferences.change('named-only', { subscribed: false })
    const subscribers = { recipients: SUBSCRIBERS }
    const everybody = ['everything', 'site-1', 'critical', 'none', 'named-only', 'stranger', 'not a user', '']
    await tell(
      someNotice({ ...subscribers, title: 'a' }),
      someNotice({ ...subscribers, title: 'b', siteIds: [2, 3] }),
      someNotice({ ...subscribers, title: 'c', severity: 'CRITICAL', siteIds: null }),
      someNotice({ recipients: named(...everybody), title: 'd', siteIds: [2] }),
      someNotice({ recipients: named(...everybody), title: 'e', severity: 'CRITICAL' }),
      someNotice({ recipients: named(), title: 'f' }),
      someNotice({
        recipients: { userIds: ['everything', 'site-1', 'stranger'], subscribers: true },
        title: 'g',
        siteIds: [2],
      }),
    )
    const told = async (userId: string) => (await titlesOf(notifications, userId)).toSorted().join('')
    expect(await told('everything')).toBe('abcdeg')
    expect(await told('site-1')).toBe('acdeg')
    expect(await told('critical')).toBe('ce')
    // What is CRITICAL and names somebody is told whatever they switched off.
    expect(await told('none')).toBe('e')
    expect(await told('named-only')).toBe('de')
    expect(await told('stranger')).toBe('deg')
    expect(await told('not a user')).toBe('')
    expect(notifications.stats()).toMatchObject({ stored: { TELEMETRY_ALERT: 19 }, repeated: 0, recipientsInvalid: 2 })
  })

  it('come quietly in quiet hours, and are there all the same', async () => {
    const clock = new ManualClock(Date.parse('2026-01-15T23:00:00+01:00'))
    const database = await databases.open()
    const { notifications, tell } = notificationCore(database, null, {}, clock)
    const quietHours = { from: '22:00', to: '06:00', timeZone: 'Europe/Berlin' }
    await notifications.preferences.change('ann', { quietHours })
    await tell(someNotice(), someNotice({ severity: 'CRITICAL' }))
    clock.advance(8 * 3_600_000)
    await tell(someNotice())
    expect((await outboxed(database)).map(({ value }) => value.quiet)).toEqual([true, false, false])
    expect((await notifications.inbox.list('ann')).items.filter(({ quiet }) => quiet)).toHaveLength(1)
  })

  it('of a burst are told one by one, then together, once each, and not again when they are told again', async () => {
    const clock = new ManualClock()
    const database = await databases.open()
    const { notifications, tell } = notificationCore(database, null, {}, clock)
    await notifications.preferences.change('ann', {})
    await notifications.preferences.change('bob', { types: { DEVICE_STATUS: { minSeverity: 'CRITICAL' } } })
    await notifications.preferences.change('cleo', { sites: [9] })
    const notices = Array.from({ length: 30 }, (_, i) => deviceNotice(`INV-${i}`, 'OFFLINE'))
    const worst = deviceNotice('INV-30', 'ERROR', { severity: 'CRITICAL' })
    await tell(...notices.slice(0, 10))
    await tell(...notices, worst)
    await notifications.start()
    await tell(...notices)
    expect(await titlesOf(notifications, 'ann')).toHaveLength(3)
    clock.advance(61_000)
    await until(async () => (await titlesOf(notifications, 'ann')).length > 3)
    await tell(...notices, worst)
    const summary = '28 more changes at gateway sub-12'
    expect((await titlesOf(notifications, 'ann')).at(-1)).toBe(summary)
    expect(await titlesOf(notifications, 'ann')).toHaveLength(4)
    expect(await titlesOf(notifications, 'bob')).toEqual([summary])
    expect(await titlesOf(notifications, 'cleo')).toEqual([])
    const [told] = (await notifications.inbox.list('bob')).items
    expect(told).toMatchObject({ severity: 'CRITICAL', type: 'DEVICE_STATUS', siteId: 1, relatedEntityId: null })
    expect(told?.content).toMatch(/: INV-3 OFFLINE, .*INV-22 OFFLINE, and 8 more$/)
    expect(notifications.stats()).toMatchObject({ held: 28, summaries: 1 })
    expect(await database.kysely.selectFrom('notification_bursts').selectAll().execute()).toEqual([])
  })

  it('that a killed core was telling are told once by the next one, those it held as well', async () => {
    const url = await databases.freshUrl()
    const database = await databases.open({ url })
    const { notifications, tell } = notificationCore(database, null, { burstWindowMs: 1_500 })
    await notifications.preferences.change('cleo', {})
    let stored = 0
    const child = startChild({
      command: [bunPath, new URL('../../support/notification-process.ts', import.meta.url).pathname, url],
      onLine: (line) => {
        stored = Number(/^stored (\d+)$/.exec(line)?.[1] ?? stored)
      },
    })
    await until(() => stored >= 50 || child.exit !== null, { timeoutMs: 10_000 })
    expect(child.exit, child.output()).toBeNull()
    await child.kill('SIGKILL')
    const total = stored + 30
    for (let from = 0; from < total; from += 10) {
      await tell(...Array.from({ length: 10 }, (_, i) => numberedNotice(from + i)))
    }
    await notifications.start()
    const counted = async () => {
      const titles = await titlesOf(notifications, 'cleo')
      return titles.reduce((sum, title) => sum + Number(/^(\d+) more/.exec(title)?.[1] ?? 1), 0)
    }
    const bursts = () => database.kysely.selectFrom('notification_bursts').selectAll().execute()
    await until(async () => (await bursts()).length === 0)
    // The killed core may have stored ten more than it said.
    expect(await counted()).toBe(total / 2)
    for (const userId of ['ann', 'bob']) {
      const titles = await titlesOf(notifications, userId)
      expect(titles).toHaveLength(total / 2)
      expect(new Set(titles).size).toBe(total / 2)
    }
    const ids = (await outboxed(database)).map(({ value }) => value.id)
    expect(new Set(ids).size).toBe(ids.length)
  })

  if (databases.postgres !== null) {
    it('that several cores tell at once are told once', async () => {
      const url = await databases.freshUrl()
      const cores = await Promise.all([1, 2, 3].map(async () => notificationCore(await databases.open({ url }))))
      const [first] = cores as [(typeof cores)[0]]
      await first.notifications.preferences.change('cleo', {})
      const batches = Array.from({ length: 12 }, (_, b) =>
        Array.from({ length: 20 }, (_, i) => numberedNotice(b * 20 + i)),
      )
      // In different orders, so that the cores meet each other's rows in each.
      await Promise.all(
        cores.map(async ({ tell }, core) => {
          for (const [i] of batches.entries()) await tell(...(batches[(i + core) % batches.length] ?? []).toReversed())
        }),
      )
      expect(await titlesOf(first.notifications, 'ann')).toHaveLength(120)
      expect(await titlesOf(first.notifications, 'bob')).toHaveLength(120)
      expect(await titlesOf(first.notifications, 'cleo')).toHaveLength(3)
      const [burst] = await first.database.kysely.selectFrom('notification_bursts').selectAll().execute()
      expect(JSON.parse(burst?.held ?? '')).toMatchObject({ count: 117 })
      expect(await outboxed(first.database)).toHaveLength(243)
    })
  }

  it('are counted, read once, and read up to a time, of one user and no other', async () => {
    const clock = new ManualClock()
    const { notifications, tell } = notificationCore(await databases.open(), null, {}, clock)
    const { inbox } = notifications
    for (const title of ['a', 'b', 'c']) {
      await tell(someNotice({ title, recipients: named('ann', 'bob') }))
      clock.advance(1_000)
    }
    const [c, b] = (await inbox.list('ann')).items
    expect(await inbox.markRead('bob', b?.id ?? '')).toBeNull()
    expect(await inbox.markRead('ann', b?.id ?? '')).toMatchObject({ readAtMs: clock.wallMs() })
    const readAtMs = clock.wallMs()
    clock.advance(1_000)
    expect(await inbox.markRead('ann', b?.id ?? '')).toMatchObject({ readAtMs })
    expect(await inbox.unreadCount('ann')).toMatchObject({ unread: 2 })
    expect((await inbox.list('ann', { unread: true })).items.map(({ title }) => title)).toEqual(['c', 'a'])
    expect((await inbox.list('ann', { unread: false })).items.map(({ title }) => title)).toEqual(['b'])
    await tell(someNotice({ title: 'd' }))
    expect(await inbox.markAllRead('ann', c?.createdAtMs ?? 0)).toBe(2)
    expect((await inbox.list('ann', { unread: true })).items.map(({ title }) => title)).toEqual(['d'])
    expect(await inbox.markAllRead('ann', null)).toBe(1)
    expect(await inbox.markAllRead('ann', null)).toBe(0)
    expect(await inbox.unreadCount('bob')).toMatchObject({ unread: 3 })
  })

  it('are marked as read in steps when they are many, and page by page listed once each', async () => {
    const { notifications, tell } = notificationCore(await databases.open())
    const { inbox } = notifications
    for (let i = 0; i < 5; i++) await tell(...Array.from({ length: 900 }, () => someNotice()))
    const seen = new Set<string>()
    let pages = 0
    for (let cursor: string | undefined; pages === 0 || cursor !== undefined; pages++) {
      const page = await inbox.list('ann', { limit: 500, cursor })
      for (const { id } of page.items) seen.add(id)
      cursor = page.next ?? undefined
      // What comes meanwhile shifts nothing.
      if (pages < 3) await tell(someNotice())
    }
    expect([seen.size, pages]).toEqual([4_500, 9])
    const marked: number[] = []
    expect(await inbox.markAllRead('ann', null, async (count) => void marked.push(count))).toBe(4_503)
    expect(marked).toEqual([4_503])
    expect(await inbox.unreadCount('ann')).toMatchObject({ unread: 0 })
  })

  it('for very many are told in steps, once each, whoever noted them and however often', async () => {
    const url = await databases.freshUrl()
    const [database, other] = [await databases.open({ url }), await databases.open({ url })]
    const [dying, core] = [notificationCore(database), notificationCore(other)]
    const { kysely } = database
    const preferences = JSON.stringify({ subscribed: true })
    const users = Array.from({ length: 1_100 }, (_, i) => ({ user_id: `user-${i}`, preferences }))
    for (const part of [users.slice(0, 550), users.slice(550)]) {
      const rows = part.map((user) => ({ ...user, created_at_ms: 0, updated_at_ms: 0 }))
      await kysely.insertInto('notification_preferences').values(rows).execute()
    }
    const notices = [
      someNotice({ recipients: { userIds: ['ann', 'user-7'], subscribers: true } }),
      someNotice({ recipients: SUBSCRIBERS }),
    ]
    // It dies before it tells anybody but those who are named.
    await database.transaction((transaction) => dying.notifications.notify(notices, transaction))
    expect((await outboxed(database)).map(({ key }) => key).toSorted()).toEqual(['ann', 'user-7'])
    const isTold = async () => (await kysely.selectFrom('notification_fan_outs').select('id').execute()).length === 0
    expect(await isTold()).toBe(false)
    await core.notifications.start()
    await until(isTold)
    const told = (await outboxed(database)).map(({ key, value }) => `${key}/${value.id}`)
    expect(new Set(told).size).toBe(told.length)
    expect(told).toHaveLength(1 + 2 * users.length)
    expect((await core.notifications.inbox.list('user-999')).items).toHaveLength(2)
    await dying.tell(...notices)
    await until(isTold)
    expect(await outboxed(database)).toHaveLength(told.length)
  })

  it('are removed when they are too old, what they were told of as well', async () => {
    const clock = new ManualClock()
    const database = await databases.open()
    const { notifications, tell } = notificationCore(database, null, { keptDays: 2 }, clock)
    await notifications.preferences.change('ann', {})
    await tell(someNotice({ title: 'old' }), deviceNotice('INV-1', 'OFFLINE'))
    clock.advance(3 * DAY_MS)
    await tell(someNotice({ title: 'new' }))
    await notifications.start()
    clock.advance(1)
    await until(async () => (await titlesOf(notifications, 'ann')).length === 1)
    expect(await titlesOf(notifications, 'ann')).toEqual(['new'])
    await until(() => notifications.stats().purged === 3)
    expect(await database.kysely.selectFrom('notification_burst_notices').selectAll().execute()).toEqual([])
  })

  it('preferences that are changed at once by two cores lose neither change', async () => {
    const url = await databases.freshUrl()
    const [one, two] = [
      notificationCore(await databases.open({ url })),
      notificationCore(await databases.open({ url })),
    ]
    for (let i = 0; i < 5; i++) {
      const userId = `user-${i}`
      await Promise.all([
        one.notifications.preferences.change(userId, { sites: [1] }),
        two.notifications.preferences.change(userId, { types: { NEW_MESSAGE: { enabled: false } } }),
      ])
      expect(await one.notifications.preferences.get(userId)).toMatchObject({
        subscribed: true,
        sites: [1],
        types: { NEW_MESSAGE: { enabled: false, minSeverity: 'INFO' } },
      })
    }
  })
})
