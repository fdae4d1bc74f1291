import { createServer, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { startLoad } from './mqtt-load-run.ts'
import type { LoadSpec } from './mqtt-load-spec.ts'
import { until } from './until.ts'

interface Sink {
  readonly port: number
  /** Payloads as they came, by topic. */
  readonly received: Map<string, string[]>
  dropConnections(): void
}

let server: Server | null = null
afterEach(() => server?.close())

/** Answers CONNECT and every QoS 1 PUBLISH; nothing more. */
async function openSink(): Promise<Sink> {
  const received = new Map<string, string[]>()
  const sockets = new Set<Socket>()
  const listening = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => undefined)
    let bytes = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
      for (let frame = takeFrame(bytes); frame !== null; frame = takeFrame(bytes)) {
        bytes = bytes.subarray(frame.total)
        if (frame.kind === 1) socket.write(Buffer.from([0x20, 2, 0, 0]))
        if (frame.kind !== 3) continue
        const topicBytes = frame.body.readUInt16BE(0)
        const topic = frame.body.toString('utf8', 2, 2 + topicBytes)
        const payloads = received.get(topic) ?? []
        received.set(topic, payloads)
        payloads.push(frame.body.toString('utf8', 4 + topicBytes))
        socket.write(Buffer.concat([Buffer.from([0x40, 2]), frame.body.subarray(2 + topicBytes, 4 + topicBytes)]))
      }
    })
  })
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve))
  server = listening
  const address = listening.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    received,
    dropConnections: () => {
      for (const socket of sockets) socket.resetAndDestroy()
    },
  }
}

function takeFrame(bytes: Buffer): { kind: number; body: Buffer; total: number } | null {
  let length = 0
  let at = 1
  for (let scale = 1; ; scale *= 128) {
    const byte = bytes[at++]
    if (byte === undefined) return null
    length += (byte & 0x7f) * scale
    if (byte < 0x80) break
  }
  if (bytes.length < at + length) return null
  return { kind: (bytes[0] ?? 0) >> 4, body: bytes.subarray(at, at + length), total: at + length }
}

function spec(port: number, over: Partial<LoadSpec> = {}): LoadSpec {
  const devices = ['INV-001', 'MTR-001'].map((serial) => ({
    clientId: serial,
    topic: `sites/1/devices/${serial}/telemetry`,
  }))
  return { host: '127.0.0.1', port, devices, inFlight: 20, payload: 'substation', ...over }
}

const marksOf = (payloads: readonly string[] = []): number[] =>
  payloads.map((payload) => Number((JSON.parse(payload) as { mark: string }).mark))

describe('the load generator', () => {
  test('sends exactly as many messages as asked, in order and marked, and counts their acknowledgements', async () => {
    const sink = await openSink()
    const result = await startLoad(spec(sink.port, { messages: 5000, marked: true })).result
    expect(result).toMatchObject({ sent: 5000, acked: 5000, unacknowledged: {} })
    expect(result.latency.count).toBe(5000)
    for (const [clientId, sent] of Object.entries(result.sentPerClient)) {
      const marks = marksOf(sink.received.get(`sites/1/devices/${clientId}/telemetry`))
      expect(marks).toEqual(Array.from({ length: sent }, (_, i) => i))
    }
  })

  test('keeps to a rate', async () => {
    const sink = await openSink()
    const result = await startLoad(spec(sink.port, { durationMs: 1000, ratePerSecond: 3000 })).result
    expect(result.sent).toBeGreaterThan(2500)
    expect(result.sent).toBeLessThan(3600)
    expect(result.acked).toBe(result.sent)
  })

  test('sends again what was not acknowledged when its connection broke', async () => {
    const sink = await openSink()
    const load = startLoad(spec(sink.port, { messages: 60_000, marked: true, reconnect: true }))
    await until(() => (sink.received.get('sites/1/devices/INV-001/telemetry')?.length ?? 0) > 500)
    sink.dropConnections()
    const result = await load.result
    expect(result).toMatchObject({ sent: 60_000, acked: 60_000, unacknowledged: {} })
    expect(result.reconnects).toBeGreaterThan(0)
    for (const [clientId, sent] of Object.entries(result.sentPerClient)) {
      const marks = new Set(marksOf(sink.received.get(`sites/1/devices/${clientId}/telemetry`)))
      expect(marks.size).toBe(sent)
    }
  })

  test('a broker that cannot be reached is an error with its reason', async () => {
    await expect(startLoad(spec(1)).result).rejects.toThrow(/load generator ended with/)
  })
})
