/** Notifications on their way from the topic to a push system that has its bad days. */

import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { Bus } from '../../../cloud/bus/bus.ts'
import { deadLetterTopicOf, NOTIFICATIONS } from '../../../cloud/bus/catalogue.ts'
import type { Parking } from '../../../cloud/bus/parking.ts'
import { openDatabase } from '../../../cloud/database/database.ts'
import { NotificationDelivery, type WebhookSettings } from '../../../cloud/notifications/delivery.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { systemRandom } from '../../../shared/random.ts'
import { bunPath, startChild } from '../../support/child.ts'
import { embeddedBus } from '../../support/outbox-relay.ts'
import { parkingOver, startParking } from '../../support/parking.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'
import { startReceiver, verifies, WEBHOOK_SECRET, type WebhookReceiver } from '../../support/webhook-receiver.ts'

const PROCESS = new URL('../../support/notification-delivery-process.ts', import.meta.url).pathname
const HOUR_MS = 3_600_000
const DEAD_LETTERS = deadLetterTopicOf(NOTIFICATIONS)

const SETTINGS: WebhookSettings = {
  url: '',
  secret: WEBHOOK_SECRET,
  timeoutMs: 5_000,
  quiet: false,
  maxAgeHours: 24,
  breakerFailures: 3,
  breakerOpenMs: 100,
}

async function startDelivery(
  bus: Bus,
  settings: Partial<WebhookSettings>,
  url?: string,
): Promise<NotificationDelivery> {
  const parking = url === undefined ? (await startParking(bus)).parking : await parkingIn(url, bus)
  const delivery = new NotificationDelivery({
    webhook: { ...SETTINGS, ...settings },
    bus,
    parking,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
  })
  onTestFinished(() => delivery.stop(AbortSignal.timeout(2_000)))
  await delivery.start()
  return delivery
}

/** What an earlier process has set aside is in its database. */
async function parkingIn(url: string, bus: Bus): Promise<Parking> {
  const database = openDatabase({ url, clock: systemClock, log: silentLogger })
  await database.start()
  onTestFinished(() => database.stop())
  const parking = parkingOver(database, bus, { leaseMs: 500 })
  await parking.start()
  return parking
}

interface Told {
  readonly id: string
  readonly userId: string
  readonly quiet?: boolean
  readonly createdAt?: string
}

/** As they come from other programs too: without `quiet`. */
async function publish(bus: Bus, told: readonly Told[], headers: Record<string, string> = {}): Promise<void> {
  const records = told.map((each) => {
    const value = { title: 'Über 90 °C', read: false, createdAt: new Date(systemClock.wallMs()).toISOString(), ...each }
    return { key: each.userId, value: JSON.stringify(value), headers }
  })
  await bus.publish(NOTIFICATIONS, records)
}

function tell(count: number, users: number, from = 0): Told[] {
  return Array.from({ length: count }, (_, n) => ({ id: `ntf-${from + n}`, userId: `user-${n % users}` }))
}

/** Everything arrived; each user has got them in order, whatever came again. */
function expectInOrder(receiver: WebhookReceiver, told: readonly Told[]): void {
  for (const userId of new Set(told.map((each) => each.userId))) {
    const ids = told.filter((each) => each.userId === userId).map(({ id }) => id)
    expect([...new Set(receiver.taken(userId))]).toEqual(ids)
  }
}

const hasAll = (receiver: WebhookReceiver, told: readonly Told[]) => () =>
  new Set(receiver.taken()).size === told.length

test('each is posted once, signed, and shaped as Standard Webhooks asks for', async () => {
  const bus = await embeddedBus()
  const receiver = startReceiver()
  const delivery = await startDelivery(bus, { url: receiver.url })
  const createdAt = new Date(systemClock.wallMs() - 5_000).toISOString()
  await publish(bus, [{ id: 'ntf-1', userId: 'ana', createdAt }])
  await until(() => receiver.received.length === 1)
  const [{ headers, body }] = receiver.received as [WebhookReceiver['received'][number]]
  expect(JSON.parse(body)).toEqual({
    type: 'notification.created',
    timestamp: createdAt,
    data: { id: 'ntf-1', userId: 'ana', title: 'Über 90 °C', read: false, createdAt },
  })
  expect(headers).toMatchObject({ 'webhook-id': 'ntf-1', 'content-type': 'application/json' })
  expect(Number(headers['webhook-timestamp'])).toBeGreaterThan(Date.parse(createdAt) / 1_000)
  expect(await verifies(headers, body, Buffer.from(WEBHOOK_SECRET))).toBe(true)
  await until(() => delivery.stats().consumer.handled === 1)
  expect(delivery.stats()).toMatchObject({
    webhook: { delivered: 1, failures: {}, breaker: 'closed' },
    skipped: { quiet: 0, stale: 0 },
  })
  expect(delivery.health()).toEqual({ state: 'up' })
})

test('several are under way at once, those of a user in order', async () => {
  const bus = await embeddedBus()
  const receiver = startReceiver()
  receiver.answer = async () => {
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 20))
    return new Response('taken')
  }
  const told = tell(120, 12)
  await publish(bus, told)
  await startDelivery(bus, { url: receiver.url })
  await until(hasAll(receiver, told))
  expect(receiver.received).toHaveLength(told.length)
  expectInOrder(receiver, told)
  expect(receiver.atOnceMax).toBeGreaterThan(2)
})

test('quiet ones stay unless wanted, old ones stay unless an operator replays them', async () => {
  const bus = await embeddedBus()
  const receiver = startReceiver()
  const ago = (ms: number) => new Date(systemClock.wallMs() - ms).toISOString()
  await publish(bus, [
    { id: 'quiet', userId: 'ana', quiet: true },
    { id: 'old', userId: 'ana', createdAt: ago(24 * HOUR_MS + 1_000) },
    { id: 'late', userId: 'ana', createdAt: ago(23 * HOUR_MS) },
  ])
  await publish(bus, [{ id: 'replayed', userId: 'ana', createdAt: ago(48 * HOUR_MS) }], { replayOf: 'dlt-1' })
  const delivery = await startDelivery(bus, { url: receiver.url })
  await until(() => delivery.stats().consumer.handled === 4)
  expect(receiver.taken()).toEqual(['late', 'replayed'])
  expect(delivery.stats().skipped).toEqual({ quiet: 1, stale: 1 })
  await delivery.stop(AbortSignal.timeout(2_000))

  await publish(
    bus,
    [{ id: 'quiet too', userId: 'ana', quiet: true }].map((each) => ({ ...each, id: 'quiet-2' })),
  )
  await startDelivery(bus, { url: receiver.url, quiet: true, maxAgeHours: 1 })
  await until(() => receiver.taken().includes('quiet-2'))
})

test('without a webhook the group goes on, whatever the records hold', async () => {
  const bus = await embeddedBus()
  const receiver = startReceiver()
  const idle = await startDelivery(bus, {})
  await publish(bus, tell(50, 5))
  await bus.publish(NOTIFICATIONS, [{ key: 'user-0', value: 'no JSON' }])
  await until(() => idle.stats().consumer.handled === 51)
  expect(idle.stats()).toMatchObject({ webhook: null, consumer: { deadLettered: {} } })
  await idle.stop(AbortSignal.timeout(2_000))
  const told = tell(2, 1, 50)
  await publish(bus, told)
  await startDelivery(bus, { url: receiver.url })
  await until(hasAll(receiver, told))
  expectInOrder(receiver, told)
})

test('an outage of every kind holds them up, loses none, and uses up no try; the breaker opens and closes', async () => {
  const bus = await embeddedBus()
  const letters = await readTopics(bus, [DEAD_LETTERS])
  const receiver = startReceiver()
  const elsewhere = startReceiver()
  const delivery = await startDelivery(bus, { url: receiver.url, timeoutMs: 200 })
  const failures: WebhookReceiver['answer'][] = [
    () => new Response(null, { status: 503 }),
    () => new Response(null, { status: 429, headers: { 'retry-after': '0' } }),
    () => Response.redirect(elsewhere.url, 302),
    () => new Promise(() => {}),
  ]
  const taken: Told[] = []
  for (const failing of failures) {
    const before = receiver.received.length
    // The first of each user gets through, then it is away.
    let left = 3
    receiver.answer = (...request) => (left-- > 0 ? new Response() : failing(...request))
    const told = tell(12, 3, taken.length)
    taken.push(...told)
    await publish(bus, told)
    await until(() => delivery.stats().webhook?.breaker === 'open')
    expect(delivery.health()).toMatchObject({ state: 'degraded' })
    expect(receiver.received.length).toBeGreaterThan(before)
    receiver.answer = () => new Response()
    await until(hasAll(receiver, taken))
    expect(delivery.stats().webhook?.breaker).toBe('closed')
    expect(delivery.health()).toEqual({ state: 'up' })
  }
  expectInOrder(receiver, taken)
  // What got through did not come again with the rest of its batch.
  expect(receiver.taken()).toHaveLength(taken.length)
  expect(elsewhere.received).toEqual([])
  expect(letters.records).toEqual([])
  expect(delivery.stats()).toMatchObject({ consumer: { deadLettered: {} }, webhook: { delivered: taken.length } })
})

test('a receiver that dies again and again gets everything in the end', async () => {
  const bus = await embeddedBus()
  const receiver = startReceiver()
  receiver.answer = async () => {
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 10))
    return new Response()
  }
  const delivery = await startDelivery(bus, { url: receiver.url })
  const told = tell(200, 20)
  await publish(bus, told)
  for (let round = 1; round <= 3; round++) {
    await until(() => receiver.received.length > round * 30)
    await receiver.die()
    await until(() => delivery.health().state === 'degraded')
    receiver.comeBack()
    await until(() => delivery.health().state === 'up')
  }
  await until(hasAll(receiver, told))
  expectInOrder(receiver, told)
})

test('what it refuses ends as a dead letter, and holds up nobody but its user', async () => {
  const bus = await embeddedBus()
  const letters = await readTopics(bus, [DEAD_LETTERS])
  const receiver = startReceiver()
  receiver.answer = ({ id }) => new Response(null, { status: id === 'ntf-4' ? 422 : 204 })
  const told = tell(40, 4)
  await publish(bus, told)
  await bus.publish(NOTIFICATIONS, [
    { key: 'user-0', value: 'no JSON' },
    { key: 'user-0', value: '{"id":"with space"}' },
  ])
  const delivery = await startDelivery(bus, { url: receiver.url })
  await until(() => letters.records.length === 3)
  const delivered = told.filter(({ id }) => id !== 'ntf-4')
  await until(hasAll(receiver, delivered))
  expectInOrder(receiver, delivered)
  expect(receiver.taken()).toHaveLength(delivered.length)
  const refused = letters.values(DEAD_LETTERS).find(({ id }) => id === 'ntf-4') ?? {}
  expect(refused).toMatchObject({
    userId: 'user-0',
    error: { code: 'WEBHOOK_REFUSED', message: expect.stringMatching(/status 422 to notification ntf-4$/) },
  })
  expect(delivery.stats().consumer.deadLettered).toEqual({ WEBHOOK_REFUSED: 1, RECORD_UNUSABLE: 2 })
  // Once for each try, not once for each batch that it was looked for in.
  const { retryCount } = refused.error as { retryCount: number }
  expect(receiver.received.filter(({ id }) => id === 'ntf-4').length).toBeLessThanOrEqual(retryCount + 1)
  expect(delivery.health()).toEqual({ state: 'up' })
})

test('stops while the receiver hangs, and what was under way comes again', async () => {
  const bus = await embeddedBus()
  const receiver = startReceiver()
  receiver.answer = () => new Promise(() => {})
  const delivery = await startDelivery(bus, { url: receiver.url, timeoutMs: 60_000 })
  const told = tell(20, 5)
  await publish(bus, told)
  await until(() => receiver.atOnceMax > 0)
  await delivery.stop(AbortSignal.timeout(500))
  await delivery.stop(AbortSignal.timeout(500))
  receiver.answer = () => new Response()
  await startDelivery(bus, { url: receiver.url })
  await until(hasAll(receiver, told))
  expectInOrder(receiver, told)
})

test('killed with -9 again and again, it delivers everything at least once, in order, and the poison ends where it belongs', async () => {
  const dir = await tempDir()
  const receiver = startReceiver()
  receiver.answer = async ({ id }) => {
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 10))
    return new Response(null, { status: id === 'ntf-25' ? 400 : 200 })
  }
  const told = tell(300, 20)
  const first = await embeddedBus(dir)
  await publish(first, told)
  await first.stop(AbortSignal.timeout(5_000))
  const command = [bunPath, PROCESS, dir, receiver.url, WEBHOOK_SECRET] as const
  for (let round = 1; round <= 4; round++) {
    const before = receiver.received.length
    const core = startChild({ command })
    await until(() => receiver.received.length > before + 20 || core.exit !== null)
    expect(core.exit, core.output()).toBeNull()
    await core.kill('SIGKILL')
  }
  const last = startChild({ command })
  const delivered = told.filter(({ id }) => id !== 'ntf-25')
  await until(hasAll(receiver, delivered), { what: last.output() })
  expectInOrder(receiver, delivered)
  // Its tries are counted across the deaths, or begin anew; in the end it is given up.
  const refusals = () => receiver.received.filter(({ status }) => status === 400).length
  await until(() => refusals() >= 3)
  await last.kill('SIGKILL')
  const bus = await embeddedBus(dir)
  const letters = await readTopics(bus, [DEAD_LETTERS])
  const again = await startDelivery(bus, { url: receiver.url }, `sqlite:${join(dir, 'busbar.db')}`)
  await until(() => letters.records.length > 0)
  expect(letters.values(DEAD_LETTERS)[0]).toMatchObject({ id: 'ntf-25', error: { code: 'WEBHOOK_REFUSED' } })
  await again.stop(AbortSignal.timeout(2_000))
}, 60_000)
