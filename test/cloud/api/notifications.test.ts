/** Notifications and preferences over REST. */

import { expect, test } from 'vitest'
import { notificationRoutes } from '../../../cloud/api/routes/notifications.ts'
import { SUBSCRIBERS } from '../../../cloud/notifications/notice.ts'
import { DEFAULT_PREFERENCES } from '../../../cloud/notifications/preferences.ts'
import { type ApiCore, startApiCore } from '../../support/api-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { getJson, sendJson } from '../../support/json-request.ts'
import { named, notificationCore, someNotice } from '../../support/notification-core.ts'

await describeOnEveryDatabase('notifications over REST', (databases) => {
  async function startCore() {
    const url = await databases.freshUrl()
    const core = notificationCore(await databases.open({ url }))
    const api: ApiCore = await startApiCore({ routes: notificationRoutes(core) }, url)
    return { ...core, of: (userId: string, path: string) => `${api.url}/api/v1/users/${userId}/${path}` }
  }

  test('are listed, the newest first, page by page, by what is asked for', async () => {
    const { tell, of } = await startCore()
    for (let i = 0; i < 5; i++) await tell(someNotice({ title: `t${i}`, severity: i === 1 ? 'CRITICAL' : 'INFO' }))
    await tell(someNotice({ recipients: named('bob'), type: 'SECURITY_ALERT' }))
    const first = (await getJson(of('ann', 'notifications?limit=3'))).body
    const second = (await getJson(of('ann', `notifications?limit=3&cursor=${first.nextCursor}`))).body
    const items = [...first.items, ...second.items]
    expect(items).toHaveLength(5)
    expect(second.nextCursor).toBeNull()
    expect(items.map(({ createdAt }) => createdAt)).toEqual(
      items
        .map(({ createdAt }) => createdAt)
        .toSorted()
        .toReversed(),
    )
    expect(items[0]).toEqual({
      id: expect.stringMatching(/^ntf-/),
      userId: 'ann',
      title: expect.stringMatching(/^t/),
      content: 'INV-001 has 90 °C',
      type: 'TELEMETRY_ALERT',
      relatedEntityId: 'alert-1',
      read: false,
      createdAt: expect.any(String),
      severity: 'INFO',
      siteId: 1,
      quiet: false,
      occurredAt: '2026-01-01T00:00:00.000Z',
      readAt: null,
    })
    const titles = async (query: string) =>
      (await getJson(of('ann', `notifications?${query}`))).body.items.map(({ title }: { title: string }) => title)
    expect(await titles('severity=CRITICAL')).toEqual(['t1'])
    expect(await titles('type=SECURITY_ALERT')).toEqual([])
    expect(await titles('unread=false')).toEqual([])
    for (const query of ['unread=perhaps', 'type=GOSSIP', 'cursor=e30', 'limit=501']) {
      expect((await getJson(of('ann', `notifications?${query}`))).status, query).toBe(422)
    }
    expect((await getJson(of('no%20body', 'notifications'))).status).toBe(422)
  })

  test('are read one by one or all at once, by their own user, with the same answer when it is asked again', async () => {
    const { tell, of } = await startCore()
    for (let i = 0; i < 4; i++) await tell(someNotice())
    const { items } = (await getJson(of('ann', 'notifications'))).body
    const unread = async () => (await getJson(of('ann', 'notifications/unread-count'))).body.unread
    expect(await unread()).toBe(4)
    const { id } = items[0]
    expect((await sendJson(of('bob', `notifications/${id}/read`), 'POST', {})).status).toBe(404)
    expect((await sendJson(of('ann', 'notifications/ntf-000000000000000000000000/read'), 'POST', {})).status).toBe(404)
    expect(await unread()).toBe(4)
    const read = await sendJson(of('ann', `notifications/${id}/read`), 'POST', {})
    expect(read).toMatchObject({ status: 200, body: { id, read: true, readAt: expect.any(String) } })
    expect((await sendJson(of('ann', `notifications/${id}/read`), 'POST', {})).body).toEqual(read.body)
    expect(await unread()).toBe(3)

    const before = items[2].createdAt
    const upTo =
      items.slice(2).length +
      items.slice(0, 2).filter(({ createdAt }: { createdAt: string }) => createdAt === before).length
    const key = { 'idempotency-key': 'k1' }
    const all = await sendJson(of('ann', 'notifications/read-all'), 'POST', { before }, key)
    expect(all.body.read).toBeGreaterThanOrEqual(2)
    expect(all.body.read).toBeLessThanOrEqual(upTo)
    await tell(someNotice())
    expect((await sendJson(of('ann', 'notifications/read-all'), 'POST', { before }, key)).body).toEqual(all.body)
    expect(await unread()).toBe(4 - all.body.read)
    expect((await sendJson(of('ann', 'notifications/read-all'), 'POST', {})).body).toEqual({ read: 4 - all.body.read })
    expect((await getJson(of('bob', 'notifications/unread-count'))).body).toEqual({
      userId: 'bob',
      unread: 0,
      changedAt: null,
    })
  })

  test('preferences begin with the default, change by members, and say what is wrong with them', async () => {
    const { tell, of } = await startCore()
    const url = of('ann', 'notification-preferences')
    expect((await getJson(url)).body).toEqual(DEFAULT_PREFERENCES)
    const quietHours = { from: '22:00', to: '06:00', timeZone: 'Europe/Berlin', days: ['SAT', 'SUN'] }
    const changes = { types: { NEW_MESSAGE: { enabled: false } }, sites: [1, 2], quietHours }
    const expected = {
      subscribed: true,
      types: { ...DEFAULT_PREFERENCES.types, NEW_MESSAGE: { enabled: false, minSeverity: 'INFO' } },
      sites: [1, 2],
      quietHours: { ...quietHours, exceptCritical: true },
    }
    expect(await sendJson(url, 'PATCH', changes)).toMatchObject({ status: 200, body: expected })
    expect((await getJson(url)).body).toEqual(expected)
    expect((await sendJson(url, 'PATCH', { quietHours: null, sites: null })).body).toEqual({
      ...expected,
      sites: null,
      quietHours: null,
    })
    await tell(someNotice({ recipients: SUBSCRIBERS, siteIds: [7] }))
    expect((await getJson(of('ann', 'notifications/unread-count'))).body.unread).toBe(1)

    const wrong = await sendJson(url, 'PATCH', { quietHours: { ...quietHours, timeZone: 'Berlin' } })
    expect(wrong).toMatchObject({
      status: 422,
      body: {
        errors: [
          {
            in: 'body',
            pointer: '/quietHours/timeZone',
            value: 'Berlin',
            remedy: expect.stringContaining('Europe/Berlin'),
          },
        ],
      },
    })
    for (const body of [
      { quietHours: { ...quietHours, from: '24:00' } },
      { types: { GOSSIP: { enabled: true } } },
      { types: { NEW_MESSAGE: { minSeverity: 'LOUD' } } },
      { sites: [0] },
      { mood: 'good' },
    ]) {
      expect((await sendJson(url, 'PATCH', body)).status, JSON.stringify(body)).toBe(422)
    }
  })
})
