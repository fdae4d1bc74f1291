/** How often clients may subscribe. */

import { expect, test } from 'vitest'
import { startApiCore } from '../../../support/api-core.ts'
import { LiveTestClient } from '../../../support/live-client.ts'
import { until } from '../../../support/until.ts'

test('who subscribes again and again is told when to, and nobody else waits for that', async () => {
  const core = await startApiCore({ limits: { subscriptionsMax: 2 } })
  const [client, other] = [
    await LiveTestClient.connect(core.webSocketUrl),
    await LiveTestClient.connect(core.webSocketUrl),
  ]
  const subscribe = { type: 'subscribe', id: 'a', channel: 'telemetry' }
  for (let i = 0; i < 40; i++) {
    client.send(subscribe)
    client.send({ type: 'unsubscribe', id: 'a' })
  }
  const refused = () => client.frames.find(({ code }) => code === 'RATE_LIMITED')
  await until(() => refused() !== undefined)
  expect(refused()).toMatchObject({ type: 'error', id: 'a', retryAfterMs: expect.any(Number) })
  await other.ask(subscribe, 'subscribed')
})
