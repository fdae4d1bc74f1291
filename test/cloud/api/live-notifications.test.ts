/** Notifications and the unread count over WebSocket, at two cores of one database and one bus. */

import { expect, test } from 'vitest'
import { notificationRoutes } from '../../../cloud/api/routes/notifications.ts'
import { unreadFeed } from '../../../cloud/api/socket/change-feed.ts'
import { RecentIds } from '../../../cloud/api/socket/recent-ids.ts'
import { NOTIFICATIONS } from '../../../cloud/bus/catalogue.ts'
import { startApiCore } from '../../support/api-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { sendJson } from '../../support/json-request.ts'
import { LiveTestClient } from '../../support/live-client.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { named, notificationCore, someNotice } from '../../support/notification-core.ts'
import { embeddedBus } from '../../support/outbox-relay.ts'
import { until } from '../../support/until.ts'

await describeOnEveryDatabase('the live channels of notifications', (databases) => {
  async function twoCores() {
    const url = await databases.freshUrl()
    const bus = await embeddedBus()
    const cores = []
    for (let i = 0; i < 2; i++) {
      const core = notificationCore(await databases.open({ url }), bus)
      const { notifications } = core
      const feeds = { unread: unreadFeed(notifications) }
      cores.push({ ...core, api: await startApiCore({ bus, feeds, routes: notificationRoutes(core) }, url) })
    }
    return { bus, cores: cores as [(typeof cores)[0], (typeof cores)[0]] }
  }

  async function follow(webSocketUrl: string, channel: string, ...userIds: string[]) {
    const client = await LiveTestClient.connect(webSocketUrl)
    for (const [i, userId] of userIds.entries()) {
      await client.ask({ type: 'subscribe', id: `s${i}`, channel, filter: { userId } }, 'subscribed')
    }
    return client
  }

  test('show each notification once, at every core, to whoever follows its user, also when its record comes again', async () => {
    const { bus, cores } = await twoCores()
    const [here, there] = cores
    const [one, other, bob] = await Promise.all([
      follow(here.api.webSocketUrl, 'notifications', 'ann'),
      follow(there.api.webSocketUrl, 'notifications', 'ann'),
      follow(there.api.webSocketUrl, 'notifications', 'bob'),
    ])
    for (const { publish } of cores) await publish()
    await here.tell(someNotice({ title: 'first' }))
    await until(() => one.events.length === 1 && other.events.length === 1)
    const [event] = one.events
    expect(event).toMatchObject({
      type: 'event',
      channel: 'notifications',
      data: { userId: 'ann', title: 'first', read: false },
    })
    const value = JSON.stringify(event?.data)
    const foreign = JSON.stringify({ id: 'msg-1', userId: 'ann', title: 'of somebody else', type: 'NEW_MESSAGE' })
    await bus.publish(
      NOTIFICATIONS,
      [value, 'nonsense', '{"userId":"ann"}', value, foreign, foreign].map((text) => ({ key: 'ann', value: text })),
    )
    await there.tell(someNotice({ title: 'last', recipients: named('ann', 'bob') }))
    for (const client of [one, other]) {
      await until(() => client.events.length >= 3)
      expect(client.events.map(({ data }) => data.title).toSorted()).toEqual(['first', 'last', 'of somebody else'])
    }
    await until(() => bob.events.length === 1)
    // Nobody may follow everybody.
    for (const channel of ['notifications', 'unread']) {
      const refused = await bob.ask({ type: 'subscribe', id: `all ${channel}`, channel, filter: {} }, 'error')
      expect(refused).toMatchObject({
        code: 'FRAME_INVALID',
        hint: `/filter/userId: say whose; ${channel} is for one user`,
      })
    }
  })

  test('show on another screen what was read on one, and what came', async () => {
    const { cores } = await twoCores()
    const [here, there] = cores
    // Long ago, so that nothing but the reading tells that the count has changed.
    const earlier = notificationCore(here.database, null, {}, new ManualClock(Date.now() - 3_600_000))
    await earlier.tell(someNotice(), someNotice(), someNotice({ recipients: named('bob') }))
    const screen = await follow(there.api.webSocketUrl, 'unread', 'ann')
    const bob = await follow(there.api.webSocketUrl, 'unread', 'bob')
    const counts = () => screen.events.map(({ data }) => data.unread)
    await until(() => counts().length === 1)
    const [newest] = (await here.notifications.inbox.list('ann')).items
    await sendJson(`${here.api.url}/api/v1/users/ann/notifications/${newest?.id}/read`, 'POST', {})
    await until(() => counts().length === 2)
    await sendJson(`${here.api.url}/api/v1/users/ann/notifications/read-all`, 'POST', {})
    await until(() => counts().length === 3)
    await here.tell(someNotice())
    await until(() => counts().length === 4)
    expect(counts()).toEqual([2, 1, 0, 1])
    expect(screen.events.at(-1)?.data).toMatchObject({ userId: 'ann', changedAt: expect.any(String) })
    expect(bob.events.map(({ data }) => data.unread)).toEqual([1])
  })
})

test('ids are remembered up to a number, the latest', () => {
  const recent = new RecentIds(3)
  expect(['a', 'b', 'c', 'a', 'd', 'a', 'd'].map((id) => recent.add(id))).toEqual([
    true,
    true,
    true,
    false,
    true,
    true,
    false,
  ])
})
