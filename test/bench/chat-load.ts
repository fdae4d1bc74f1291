/**
 * Load generator of conversations, a process of its own: a thousand WebSocket clients that talk faster and faster, until
 * what they talk through keeps up no more. Told by a file, tells by lines of JSON; see chat-load-spec.ts.
 */

import { readFileSync } from 'node:fs'
import { systemClock as clock, sleep } from '../../shared/clock.ts'
import { LatencyHistogram } from '../support/latency-histogram.ts'
import { usageOf } from '../support/process-usage.ts'
import type { ChatLoadLine, ChatLoadSpec, ChatStep } from './chat-load-spec.ts'

/** How often messages that are due are sent. */
const PACE_MS = 5
/** Sockets that are opened at one time. */
const OPENING = 50
const OPEN_MS = 30_000
/** Until who came is known everywhere, and nothing is left of a thousand beginnings. */
const SETTLE_MS = 5_000
/** Of a message; what is left is words. */
const CONTENT_CHARS = 100
const WORDS = 'Feeder 3 at the substation is open, crew 4 is on its way and reports when it is there. '
/** Begins the content of every message: when it was sent, microseconds, and by which socket. */
const MARKER = '"content":"t='

interface Client {
  readonly socket: WebSocket
  readonly index: number
}

class Arrivals {
  readonly histogram = new LatencyHistogram()
}

let arrivals: Arrivals | null = null
let sampled = false
let refused: string | null = null

function nowUs(): number {
  return Math.round((performance.timeOrigin + performance.now()) * 1000)
}

function take(index: number, text: string): void {
  const at = text.indexOf(MARKER)
  if (at < 0) {
    if (text.startsWith('{"type":"error"')) refused ??= text
    return
  }
  const from = at + MARKER.length
  const middle = text.indexOf(';', from)
  // Who sent it may be sent it too, for other devices.
  if (Number(text.slice(middle + 1, text.indexOf(';', middle + 1))) === index) return
  if (!sampled) {
    sampled = true
    const content = at + MARKER.length - 2
    const end = text.indexOf('"', content)
    print({
      type: 'sample',
      before: text.slice(0, content),
      content: text.slice(content, end),
      after: text.slice(end),
    })
  }
  arrivals?.histogram.record((nowUs() - Number(text.slice(from, middle))) / 1000)
}

async function connect(url: string, userId: string, index: number): Promise<Client> {
  const socket = new WebSocket(url)
  await new Promise<void>((resolve, reject) => {
    const timer = clock.after(OPEN_MS, () => reject(new Error(`${userId} is not subscribed`)))
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: 'subscribe', id: 's', channel: 'chat', filter: { userId } }))
    }
    socket.onmessage = ({ data }) => {
      if (!String(data).includes('"subscribed"')) return reject(new Error(String(data)))
      timer.cancel()
      // There is nothing to catch up with.
      socket.send(JSON.stringify({ type: 'chat.resume', id: 'r', marks: {} }))
      socket.onmessage = (event) => take(index, event.data as string)
      resolve()
    }
    socket.onclose = ({ code, reason }) => {
      refused ??= `closed with ${code} ${reason}`
      reject(new Error(refused))
    }
  })
  return { socket, index }
}

/** Sends what is due, evenly, until it is stopped. */
function pace(spec: ChatLoadSpec, clients: readonly Client[], ratePerSecond: number): { stop(): number } {
  const startMs = performance.now()
  let sent = 0
  const timer = clock.every(PACE_MS, () => {
    const due = Math.floor(((performance.now() - startMs) * ratePerSecond) / 1000)
    for (; sent < due; sent++) say(spec, clients)
  })
  return {
    stop() {
      timer.cancel()
      return sent
    },
  }
}

let said = 0
const run = process.pid.toString(36)

function say({ conversations }: ChatLoadSpec, clients: readonly Client[]): void {
  const number = said++
  const { id, members } = conversations[number % conversations.length] as ChatLoadSpec['conversations'][number]
  const speaker = members[Math.floor(number / conversations.length) % members.length] as number
  const content = `t=${nowUs()};${speaker};${WORDS}${WORDS}`.slice(0, CONTENT_CHARS)
  const frame = {
    type: 'chat.send',
    id: String(number),
    conversationId: id,
    clientMessageId: `${run}-${number}`,
    content,
  }
  clients[speaker]?.socket.send(JSON.stringify(frame))
}

async function step(spec: ChatLoadSpec, clients: readonly Client[], ratePerSecond: number): Promise<ChatStep> {
  const pacer = pace(spec, clients, ratePerSecond)
  await sleep(clock, spec.warmUpMs)
  const counting = new Arrivals()
  const before = { cpuMs: usageOf(spec.pid).cpuMs, own: process.cpuUsage(), atMs: performance.now() }
  arrivals = counting
  await sleep(clock, spec.measureMs)
  arrivals = null
  const elapsedMs = performance.now() - before.atMs
  const cpuMs = usageOf(spec.pid).cpuMs - before.cpuMs
  const own = process.cpuUsage(before.own)
  pacer.stop()
  const { histogram } = counting
  const members = spec.conversations.reduce((sum, each) => sum + each.members.length - 1, 0)
  const expectedPerSecond = (ratePerSecond * members) / spec.conversations.length
  const deliveriesPerSecond = (histogram.count * 1000) / elapsedMs
  const latency = histogram.summary()
  return {
    type: 'step',
    ratePerSecond,
    deliveriesPerSecond,
    expectedPerSecond,
    latency,
    serverCpu: cpuMs / elapsedMs,
    clientCpu: (own.user + own.system) / 1000 / elapsedMs,
    serverCpuUsPerDelivery: (cpuMs * 1000) / Math.max(1, histogram.count),
    keptUp: latency.p99Ms <= spec.p99MsMax && deliveriesPerSecond > expectedPerSecond * 0.95,
  }
}

function print(line: ChatLoadLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

async function main(spec: ChatLoadSpec): Promise<void> {
  const clients: Client[] = []
  for (let from = 0; from < spec.userIds.length; from += OPENING) {
    const batch = spec.userIds.slice(from, from + OPENING)
    clients.push(...(await Promise.all(batch.map((userId, i) => connect(spec.url, userId, from + i)))))
  }
  await sleep(clock, SETTLE_MS)
  for (let rate = spec.ratePerSecond; ; rate *= spec.growth) {
    const result = await step(spec, clients, rate)
    print(result)
    if (refused !== null) throw new Error(`refused: ${refused}`)
    if (!result.keptUp) return
  }
}

await main(JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as ChatLoadSpec)
process.exit(0)
