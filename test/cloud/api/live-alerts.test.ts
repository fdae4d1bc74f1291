/** Alerts over WebSocket, at another core than the one that finds them. */

import { expect, onTestFinished, test } from 'vitest'
import { alertRoutes } from '../../../cloud/api/routes/alerts.ts'
import { alertFeed } from '../../../cloud/api/socket/change-feed.ts'
import { DEVICE_TELEMETRY } from '../../../cloud/bus/catalogue.ts'
import { HOT, startAlertCore, tempRecord } from '../../support/alert-core.ts'
import { startApiCore } from '../../support/api-core.ts'
import { describeOnEveryDatabase } from '../../support/databases.ts'
import { getJson } from '../../support/json-request.ts'
import { LiveTestClient } from '../../support/live-client.ts'
import { embeddedBus } from '../../support/outbox-relay.ts'
import { until } from '../../support/until.ts'

await describeOnEveryDatabase('the live channel of alerts', (databases) => {
  test('shows what a filter names and then every change of it, as REST shows it', async () => {
    const url = await databases.freshUrl()
    const bus = await embeddedBus()
    const finder = await startAlertCore({ bus, database: await databases.open({ url }) })
    const shower = await startAlertCore({ bus, database: await databases.open({ url }) })
    for (const core of [finder, shower]) onTestFinished(() => core.stop())
    const { rules, alerts } = shower
    const here = await startApiCore(
      { bus, feeds: { alerts: alertFeed(alerts) }, routes: alertRoutes({ rules, alerts }) },
      url,
    )
    const rule = await finder.rules.create(HOT)
    let atMs = Date.now()
    const publish = async (deviceId: number, tempC: number) => {
      atMs += 1
      await bus.publish(DEVICE_TELEMETRY, [tempRecord({ deviceId, atMs, tempC, seq: atMs })])
    }
    const opened = () => finder.evaluation.stats().opened + shower.evaluation.stats().opened
    const follow = async (filter: object) => {
      const client = await LiveTestClient.connect(here.webSocketUrl)
      await client.ask({ type: 'subscribe', id: 'a', channel: 'alerts', filter }, 'subscribed')
      return client
    }

    await publish(1, 90)
    await until(() => opened() === 1)
    const [first] = (await alerts.list()).items
    const [all, one, otherDevice, ofRule] = await Promise.all([
      follow({}),
      follow({ alertId: first?.id }),
      follow({ serialNumber: 'INV-2' }),
      follow({ ruleId: rule.id }),
    ])
    await until(() => [all, one, ofRule].every(({ events }) => events.length === 1))
    expect(all.events[0]).toMatchObject({
      channel: 'alerts',
      data: { id: first?.id, state: 'OPEN', serialNumber: 'INV-1' },
    })
    await publish(2, 95)
    await until(() => all.events.length === 2 && otherDevice.events.length === 1 && ofRule.events.length === 2)
    await publish(1, 20)
    await until(() => all.events.length === 3 && one.events.length === 2 && ofRule.events.length === 3)
    expect(one.events.map(({ data }) => data.state)).toEqual(['OPEN', 'CLOSED'])
    expect(one.events[1]?.data).toEqual((await getJson(`${here.url}/api/v1/alerts/${first?.id}`)).body)
    expect(otherDevice.events).toHaveLength(1)
  })
})
