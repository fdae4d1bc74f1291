import { describe, expect, test } from 'vitest'
import { DEFAULT_API_LIMITS } from '../../../cloud/api/limits.ts'
import { LiveClient } from '../../../cloud/api/socket/live-client.ts'
import { Outflow } from '../../../cloud/api/socket/outflow.ts'
import { LOCAL_CALLER } from '../../../cloud/identity/identity.ts'
import { type ApiCore, startApiCore } from '../../support/api-core.ts'
import { LiveTestClient } from '../../support/live-client.ts'
import { until } from '../../support/until.ts'

/** Larger than what the kernel keeps for a socket that is not read. */
const FLOOD_EVENTS = 200
const FLOOD_EVENT_BYTES = 100_000

function large(seq: number) {
  const value = {
    deviceId: 1,
    serialNumber: 'INV-001',
    siteId: 1,
    telemetryData: { trace: 'x'.repeat(FLOOD_EVENT_BYTES) },
  }
  return { key: 'INV-001', value: JSON.stringify(value), headers: { gateway: 'gw-1', seq: String(seq) } }
}

async function publishAll(core: ApiCore, from: number, count: number): Promise<void> {
  for (let i = 0; i < count; i += 10) {
    await core.bus.publish(
      'device-telemetry',
      Array.from({ length: 10 }, (_, j) => large(from + i + j)),
    )
  }
}

async function subscribed(core: ApiCore): Promise<LiveTestClient> {
  const client = await LiveTestClient.connect(core.webSocketUrl)
  await client.ask({ type: 'subscribe', id: 'a', channel: 'telemetry' }, 'subscribed')
  return client
}

test('a slow client is told exactly how many events it missed, and where; others miss none', async () => {
  const core = await startApiCore({ limits: { clientBufferBytesMax: 500_000 } })
  const [slow, swift] = [await subscribed(core), await subscribed(core)]
  slow.socket.pause()
  await publishAll(core, 1, FLOOD_EVENTS)
  await until(() => swift.events.length === FLOOD_EVENTS)
  slow.socket.resume()
  await until(() => slow.frames.some(({ type }) => type === 'missed'))
  await publishAll(core, FLOOD_EVENTS + 1, 10)
  await until(() => slow.events.at(-1)?.seq === FLOOD_EVENTS + 10)

  // What it got before, what it missed and what it got after make up the whole, in this order.
  let next = 1
  for (const frame of slow.frames.slice(1)) {
    if (frame.type === 'missed') {
      expect(frame.channel).toBe('telemetry')
      next += frame.count as number
    } else {
      expect(frame.seq).toBe(next++)
    }
  }
  expect(next).toBe(FLOOD_EVENTS + 11)
  expect(slow.events.length).toBeLessThan(FLOOD_EVENTS)
  expect(swift.frames.some(({ type }) => type === 'missed')).toBe(false)
  const told = slow.frames.reduce((sum, frame) => sum + (frame.type === 'missed' ? (frame.count as number) : 0), 0)
  expect(await core.metrics.metrics()).toContain(`busbar_api_events_missed_total{channel="telemetry"} ${told}`)
})

test('a client that does not come back is cut', async () => {
  const core = await startApiCore({ limits: { clientBufferBytesMax: 500_000, clientBehindMaxMs: 300 } })
  const slow = await subscribed(core)
  slow.socket.pause()
  await publishAll(core, 1, FLOOD_EVENTS)
  await until(() => core.api.stats().clients === 0)
  expect(core.api.stats().subscriptions).toBe(0)
  expect(await core.metrics.metrics()).toContain('busbar_api_clients_cut_total{reason="behind"} 1')
})

test('a client that asks on and on without reading the answers is cut', async () => {
  const core = await startApiCore({ limits: { clientBufferBytesMax: 16_384, clientRepliesBytesMax: 16_384 } })
  const client = await LiveTestClient.connect(core.webSocketUrl)
  client.socket.pause()
  const ping = JSON.stringify({ type: 'ping', id: 'x'.repeat(64) })
  await until(
    () => {
      for (let i = 0; i < 1000 && client.socket.bufferedAmount < 1_000_000; i++) client.send(ping)
      return core.api.stats().clients === 0
    },
    { what: 'the client is cut' },
  )
  expect(await core.metrics.metrics()).toContain('busbar_api_clients_cut_total{reason="replies"} 1')
})

/** A client that fell behind at 100 ms, of whose bytes the kernel took so many that 400 of 1000 wait at 150 ms. */
function recovering() {
  const socket = { waiting: 900, terminated: 0 }
  const cut: string[] = []
  const limits = {
    ...DEFAULT_API_LIMITS,
    clientBufferBytesMax: 1000,
    clientBehindMaxMs: 300,
  }
  const client = new LiveClient({
    socket: {
      sendText: (text) => {
        socket.waiting += text.length
        return -1
      },
      getBufferedAmount: () => socket.waiting,
      ping: () => -1,
      cork: (fn) => fn(),
      close: () => expect.unreachable('a close frame would wait behind the rest'),
      terminate: () => socket.terminated++,
    },
    caller: LOCAL_CALLER,
    nowMs: 0,
    limits,
    events: {
      sent: () => undefined,
      missed: () => undefined,
      cut: (reason) => cut.push(reason),
    },
  })
  client.put('x'.repeat(200))
  client.flush('telemetry', 100)
  socket.waiting = 400
  client.review(150)
  expect(socket.waiting).toBeGreaterThan(400)
  return { client, socket, cut }
}

describe('a client that was behind', () => {
  test('and takes nothing is cut at once when its time is up, whatever is sent to it; counted once', () => {
    const { client, socket, cut } = recovering()
    client.put('x')
    client.flush('telemetry', 300)
    client.reply({ type: 'pong' })
    client.review(450)
    expect(cut).toEqual([])
    client.review(451)
    client.review(900)
    expect(cut).toEqual(['behind'])
    expect(socket.terminated).toBe(1)
  })

  test('and goes on reading is not cut, though as much comes as it reads', () => {
    const { client, socket, cut } = recovering()
    for (let nowMs = 400; nowMs < 4000; nowMs += 250) {
      socket.waiting -= 100
      client.put('x'.repeat(100))
      client.flush('telemetry', nowMs)
      client.reply({ type: 'pong' })
      socket.waiting -= 15
      client.review(nowMs + 10)
    }
    expect(cut).toEqual([])
  })

  test('and has read everything may be quiet', () => {
    const { client, socket, cut } = recovering()
    socket.waiting = 0
    client.review(400)
    client.review(10_000)
    expect(cut).toEqual([])
  })
})

describe('outflow', () => {
  test('admits events until the limit, then none until half of it is read', () => {
    const outflow = new Outflow(1000)
    expect(outflow.admits(600, 400)).toBe(true)
    expect(outflow.admits(601, 400)).toBe(false)
    outflow.miss('telemetry', 50)
    outflow.miss('telemetry', 60)
    outflow.miss('status', 70)
    expect(outflow.admits(1, 0)).toBe(false)
    expect(outflow.hasCaughtUp(501)).toBe(false)
    expect(outflow.behindMs(150)).toBe(100)
    expect(outflow.hasCaughtUp(500)).toBe(true)
    expect(outflow.catchUp(500, 160)).toEqual([
      { channel: 'telemetry', count: 2 },
      { channel: 'status', count: 1 },
    ])
    outflow.observe(0, 170)
    expect(outflow.behindMs(200)).toBe(0)
    expect(outflow.admits(1, 500)).toBe(true)
  })

  test('admits an event of any size when nothing waits', () => {
    expect(new Outflow(1000).admits(5000, 0)).toBe(true)
  })

  test('a client that is not behind has nothing to catch up with', () => {
    const outflow = new Outflow(1000)
    expect(outflow.hasCaughtUp(0)).toBe(false)
    expect(() => outflow.catchUp(0, 0)).toThrow(/invariant/)
  })
})
