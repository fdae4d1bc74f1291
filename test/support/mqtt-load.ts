/**
 * Load generator, a process of its own: `bun test/support/mqtt-load.ts spec.json`. Speaks raw MQTT with frames encoded
 * beforehand, so that it costs far less than the broker it measures. Works against any MQTT 3.1.1 broker.
 */

import { readFileSync } from 'node:fs'
import { systemClock as clock, sleep } from '../../shared/clock.ts'
import { hashFraction } from '../simulation/noise.ts'
import { simulateSubstation } from '../simulation/substation.ts'
import { LatencyHistogram } from './latency-histogram.ts'
import { LoadClient, SLOTS_MAX } from './mqtt-load-client.ts'
import type { LoadLine, LoadSpec } from './mqtt-load-spec.ts'

const CONNECTS_AT_ONCE = 50
const RECONNECT_MS = 50
const PACE_MS = 1
/** A message sent this long after it was due is on time; a later one waited for the broker, and its latency says so. */
const LATE_MS = 3

/** Runs the whole load and prints its lines. */
async function run(spec: LoadSpec): Promise<void> {
  const histogram = new LatencyHistogram()
  const { inFlight, messages = Number.POSITIVE_INFINITY } = spec
  let state: 'connecting' | 'running' | 'draining' | 'over' = 'connecting'
  let measuring = false
  let sent = 0
  let acked = 0
  let reconnects = 0
  let over: () => void = () => undefined
  const finished = new Promise<void>((resolve) => {
    over = resolve
  })

  const fill = (client: LoadClient): void => {
    if (state !== 'running' || spec.ratePerSecond !== undefined) return
    const room = Math.min(inFlight - client.inFlight, messages - sent)
    if (room > 0) sent += client.send(room, performance.now())
  }
  const onRoom = (client: LoadClient): void => {
    fill(client)
    if (acked >= messages) over()
  }
  const onClosed = (client: LoadClient): void => {
    if (state === 'over') return
    if (!spec.reconnect) throw new Error('the broker closed a connection')
    void reconnect(client)
  }
  const reconnect = async (client: LoadClient): Promise<void> => {
    while (state !== 'over') {
      await sleep(clock, RECONNECT_MS)
      try {
        await client.connect()
        reconnects++
        fill(client)
        return
      } catch {
        // Not back yet.
      }
    }
  }

  const poolSize = spec.payloadPool ?? (spec.payload === 'constant' ? 1 : 500)
  const slots = Math.min(SLOTS_MAX, Math.max(2 * inFlight, poolSize, 1))
  const clients = spec.devices.map((device, index) => {
    const payloads = spec.payload === 'constant' ? [constantPayload(spec)] : readings(spec, index, poolSize)
    const onAcked = (_client: LoadClient, latencyMs: number): void => {
      acked++
      if (measuring) histogram.record(latencyMs)
    }
    return new LoadClient({
      ...device,
      host: spec.host,
      port: spec.port,
      payloads,
      slots,
      marked: spec.marked ?? false,
      onAcked,
      onRoom,
      onClosed,
    })
  })
  for (let first = 0; first < clients.length; first += CONNECTS_AT_ONCE) {
    await Promise.all(clients.slice(first, first + CONNECTS_AT_ONCE).map((client) => client.connect()))
  }
  process.on('SIGTERM', over)
  print({ type: 'ready' })
  const progress = clock.every(1000, () => print({ type: 'progress', sent, acked }))

  state = 'running'
  const pacer =
    spec.ratePerSecond === undefined
      ? null
      : startPacer(clients, spec, (count) => {
          sent += count
        })
  for (const client of clients) fill(client)
  if (spec.warmUpMs !== undefined) await Promise.race([sleep(clock, spec.warmUpMs), finished])
  measuring = true
  const ackedBefore = acked
  const cpuBefore = process.cpuUsage()
  const startMs = performance.now()
  if (spec.durationMs !== undefined) await Promise.race([sleep(clock, spec.durationMs), finished])
  else await finished
  const measuredMs = performance.now() - startMs
  const ackedMeasured = acked - ackedBefore
  measuring = false
  const behind = pacer?.stop() ?? 0

  state = 'draining'
  const drainUntil = performance.now() + (spec.drainMs ?? 10_000)
  while (acked < sent && performance.now() < drainUntil) await sleep(clock, 5)
  const cpu = process.cpuUsage(cpuBefore)
  progress.cancel()
  state = 'over'
  const unacknowledged: Record<string, number[]> = {}
  const sentPerClient: Record<string, number> = {}
  spec.devices.forEach((device, index) => {
    const client = clients[index]
    if (client === undefined) return
    sentPerClient[device.clientId] = client.sent
    const open = client.unacknowledged()
    if (open.length > 0) unacknowledged[device.clientId] = open
    client.close()
  })
  print({
    type: 'result',
    sent,
    acked,
    ratePerSecond: (ackedMeasured / measuredMs) * 1000,
    measuredMs,
    latency: histogram.summary(),
    payloadBytesMean: clients.reduce((sum, client) => sum + client.payloadBytesMean, 0) / Math.max(1, clients.length),
    behind,
    reconnects,
    cpuMs: (cpu.user + cpu.system) / 1000,
    unacknowledged,
    sentPerClient,
  })
}

/** Sends messages when they are due, spread over the clients in turn; `stop` returns how many due ones are unsent. */
function startPacer(clients: LoadClient[], spec: LoadSpec, onSent: (count: number) => void): { stop(): number } {
  const { ratePerSecond = 0, inFlight, messages = Number.POSITIVE_INFINITY } = spec
  const startMs = performance.now()
  let given = 0
  let turn = 0
  const dueNow = (): number => Math.min(messages, Math.floor(((performance.now() - startMs) * ratePerSecond) / 1000))
  const pace = (): void => {
    let left = dueNow() - given
    // Few messages go one by one, each timed from when it was due; many go as one write per client.
    const share = Math.max(1, Math.floor(left / clients.length))
    for (let tried = 0; left > 0 && tried < clients.length * 2; tried++) {
      const client = clients[turn++ % clients.length]
      if (client === undefined || !client.connected) continue
      const count = Math.min(share, left, inFlight - client.inFlight)
      if (count <= 0) continue
      const dueMs = startMs + ((given + 1) * 1000) / ratePerSecond
      const now = performance.now()
      const sent = client.send(count, now - dueMs <= LATE_MS ? now : dueMs)
      given += sent
      left -= sent
      onSent(sent)
    }
  }
  const timer = clock.every(PACE_MS, pace)
  return {
    stop() {
      timer.cancel()
      return dueNow() - given
    },
  }
}

function constantPayload(spec: LoadSpec): string {
  const length = spec.payloadBytes ?? 200
  const head = '{"powerKw":45.2,"voltage":480.5,"current":94.3,"temperature":35.2,"efficiency":98.5,"note":"'
  return `${head}${'x'.repeat(Math.max(0, length - head.length - 2))}"}`
}

/** A stretch of one simulated device's day; clients play inverters and meters in turn. */
function readings(spec: LoadSpec, index: number, count: number): string[] {
  const seed = (spec.seed ?? 1) + 7919 * Math.floor(index / 40)
  const place = Math.floor((index % 40) / 2)
  const devices = simulateSubstation({ seed, siteId: 1, inverters: place + 1, meters: place + 1 })
  const device = devices[index % 2 === 0 ? place : place + 1 + place]
  const startMs = Date.UTC(2025, 5, 21, 8)
  // No two devices read at the same millisecond, and none keeps its period to the millisecond.
  const offBeatMs = (i: number): number => Math.floor(hashFraction(seed + index, i) * 100) + ((index * 7919) % 10_000)
  return Array.from({ length: count }, (_, i) => JSON.stringify(device?.readingAt(startMs + i * 10_000 + offBeatMs(i))))
}

function print(line: LoadLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

await run(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as LoadSpec)
process.exit(0)
