import { describe, expect, test } from 'vitest'
import { systemClock } from '../../../shared/clock.ts'
import { until } from '../../support/until.ts'
import { connectFrame, publishFrame, subscribeFrame } from './support/frames.ts'
import { type RawClient, type Site, startSite } from './support/site.ts'

const TOPIC = 'sites/1/devices/INV-001/telemetry'
const FILTER = 'sites/+/devices/+/telemetry'
const PAYLOAD = JSON.stringify({ pad: 'x'.repeat(8000) })

/** A subscriber that is logged in, subscribed, and reads no more. */
async function frozenSubscriber(site: Site, qos: 0 | 1, clean = true): Promise<RawClient> {
  const raw = await site.socket()
  raw.send(connectFrame({ clientId: 'frozen', clean }))
  raw.send(subscribeFrame(1, FILTER, qos))
  await until(() => raw.received.length === 9)
  raw.socket.pause()
  return raw
}

/** Publishes with one message in flight for `durationMs`; the times to PUBACK, milliseconds, ascending. */
async function latencies(site: Site, durationMs: number): Promise<number[]> {
  const device = await site.client()
  const times: number[] = []
  const end = systemClock.monotonicMs() + durationMs
  while (systemClock.monotonicMs() < end) {
    const since = systemClock.monotonicMs()
    await device.publishAsync(TOPIC, PAYLOAD, { qos: 1 })
    times.push(systemClock.monotonicMs() - since)
  }
  await device.endAsync()
  return times.sort((a, b) => a - b)
}

const at = (times: readonly number[], share: number) => times[Math.floor(times.length * share)] ?? 0

describe('a subscriber that does not read', () => {
  test('holds up neither those who publish nor those who read', async () => {
    const site = await startSite({ limits: { slowSubscriberMs: 60_000 } })
    const reader = await site.client()
    let read = 0
    reader.on('message', () => read++)
    await reader.subscribeAsync(FILTER)
    const before = await latencies(site, 1000)
    await until(() => read === before.length)
    read = 0
    await frozenSubscriber(site, 0)
    const during = await latencies(site, 2000)
    expect(site.broker.stats().droppedDeliveries['slow-subscriber']).toBeGreaterThan(0)
    expect(at(during, 0.5)).toBeLessThan(5 * at(before, 0.5) + 5)
    expect(at(during, 0.99)).toBeLessThan(5 * at(before, 0.99) + 50)
    await until(() => read === during.length)
  })

  test('loses QoS 0 messages, and is cut when it takes nothing for a while', async () => {
    const site = await startSite({ limits: { slowSubscriberMs: 300 } })
    await frozenSubscriber(site, 0)
    await latencies(site, 1500)
    await until(() => site.broker.stats().refused['not-reading'] === 1)
    expect(site.broker.stats().droppedDeliveries['slow-subscriber']).toBeGreaterThan(0)
    await until(() => site.broker.stats().connections === 0)
  })

  test('with QoS 1 loses nothing: it is cut at the hard limit, and its session keeps what was not acknowledged', async () => {
    const limits = { slowSubscriberMs: 60_000, unreadCutBytes: 1024 * 1024, sessionQueueMax: 100_000 }
    const site = await startSite({ limits })
    await frozenSubscriber(site, 1, false)
    const device = await site.client()
    let published = 0
    await until(
      async () => {
        await device.publishAsync(TOPIC, PAYLOAD, { qos: 1 })
        published++
        return site.broker.stats().refused['not-reading'] === 1
      },
      { pollMs: 0 },
    )
    expect(site.broker.stats().droppedDeliveries['slow-subscriber']).toBe(0)
    await until(() => site.broker.stats().queuedMessages === published)
  })

  test('that reads again in time is not cut', async () => {
    const site = await startSite({ limits: { slowSubscriberMs: 2000 } })
    const raw = await frozenSubscriber(site, 0)
    await latencies(site, 800)
    raw.socket.resume()
    await until(() => raw.received.length > 256 * 1024)
    const length = raw.received.length
    const device = await site.client()
    await until(async () => {
      await device.publishAsync(TOPIC, PAYLOAD, { qos: 1 })
      return raw.received.length > length + 10 * PAYLOAD.length
    })
    expect(site.broker.stats().refused['not-reading']).toBe(0)
  })
})

test('a device that does not read its acknowledgements is no longer read, and cut in the end', async () => {
  const site = await startSite({ limits: { slowSubscriberMs: 500, unreadPauseBytes: 1024, publishRateMax: 1e9 } })
  const raw = await site.socket()
  raw.send(connectFrame({ clientId: 'deaf' }))
  await until(() => raw.received.length === 4)
  raw.socket.pause()
  const frames = Buffer.concat(Array.from({ length: 5000 }, (_, i) => publishFrame(TOPIC, '', { id: i + 1 })))
  let sent = 0
  while (!raw.closed && sent < 500) {
    raw.send(frames)
    sent++
    await new Promise((resolve) => setTimeout(resolve, 1))
    if (site.broker.stats().refused['not-reading'] === 1) break
  }
  await until(() => site.broker.stats().refused['not-reading'] === 1)
  // Not read any more, long before it was cut.
  expect(site.broker.stats().publishes.telemetry).toBeLessThan(sent * 5000)
})
