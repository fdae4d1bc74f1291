/**
 * Conversations over a thousand WebSockets: how many messages a second arrive and how long they take, beside an Elysia app
 * that broadcasts the same frames to the same sockets and keeps nothing: what storing, ordering, receipts and the way over
 * the bus cost. Core with embedded bus and SQLite; the clients are a process of their own.
 */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ApiClient } from '../../cloud/cli/api-client.ts'
import { systemClock as clock } from '../../shared/clock.ts'
import { systemRandom as random } from '../../shared/random.ts'
import { bunPath, startChild } from '../support/child.ts'
import type { CloudProcess } from '../support/cloud-process.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import type { ChatBroadcastSpec, ChatLoadLine, ChatLoadSpec, ChatSample, ChatStep } from './chat-load-spec.ts'
import type { Bench, Figure, Section } from './figure.ts'
import { benchCloud } from './programs.ts'

interface Layout {
  readonly name: string
  readonly title: string
  readonly conversations: number
  readonly members: number
  /** Messages a second to begin with. */
  readonly ratePerSecond: number
}

type Conversations = ChatLoadSpec['conversations']

interface Measured {
  readonly steps: readonly ChatStep[]
  readonly sample: ChatSample
}

const SOCKETS = 1_000
const LAYOUTS: readonly Layout[] = [
  { name: 'one', title: 'one conversation of 1,000', conversations: 1, members: SOCKETS, ratePerSecond: 2 },
  { name: 'many', title: '50 conversations of 20', conversations: 50, members: 20, ratePerSecond: 20 },
]
/** Later than that is too late for a talk; the core is as busy as it may be. */
const P99_MS_MAX = 250
const ENDLESS = 100_000
const LOAD_MS_MAX = 600_000

export const chat: Section = {
  name: 'chat',
  title: 'Conversations over 1,000 WebSockets, and a bare broadcast to the same sockets',
  async run(bench) {
    const figures: Figure[] = []
    for (const layout of LAYOUTS) {
      const { ours, conversations } = await measureCore(bench, layout)
      const theirs = await measureBroadcast(bench, layout, conversations, ours.sample)
      figures.push(...figuresOf(layout, ours.steps, theirs.steps))
    }
    return figures
  },
}

function figuresOf({ title }: Layout, ours: readonly ChatStep[], theirs: readonly ChatStep[]): Figure[] {
  const best = lastKept(ours)
  const other = theirs.find(({ ratePerSecond }) => ratePerSecond === best.ratePerSecond) ?? lastKept(theirs)
  const figure = (name: string, value: number, unit: string, note?: string): Figure => {
    return { name: `${title}: ${name}`, value, unit, ...(note === undefined ? {} : { note }) }
  }
  const of = (who: string, step: ChatStep): Figure[] => {
    const { latency, serverCpu, clientCpu, ratePerSecond } = step
    const note = `at ${Math.round(ratePerSecond)} messages/s; CPU ${percent(serverCpu)} of a core, the clients ${percent(clientCpu)}`
    return [
      figure(`${who}, send to arrival p50`, latency.p50Ms, 'ms', note),
      figure(`${who}, send to arrival p99`, latency.p99Ms, 'ms'),
      figure(`${who}, CPU`, step.serverCpuUsPerDelivery, 'µs/delivery'),
    ]
  }
  const [most, otherMost] = [mostOf(ours), mostOf(theirs)]
  return [
    figure('core, messages', best.ratePerSecond, 'messages/s', `the most with p99 below ${P99_MS_MAX} ms`),
    figure('core, arrivals at that', best.deliveriesPerSecond, 'deliveries/s'),
    ...of('core', best),
    figure('core, most arrivals', most, 'deliveries/s', 'at more than it keeps up with'),
    ...of('broadcast', other),
    figure('broadcast, most arrivals', otherMost, 'deliveries/s'),
    figure('ratio of most arrivals', most / otherMost, '× broadcast'),
    figure('ratio of CPU at the same rate', best.serverCpuUsPerDelivery / other.serverCpuUsPerDelivery, '× broadcast'),
  ]
}

/** The first one where none was. */
function lastKept(steps: readonly ChatStep[]): ChatStep {
  const step = steps.findLast(({ keptUp }) => keptUp) ?? steps[0]
  if (step === undefined) throw new Error('nothing was measured')
  return step
}

function mostOf(steps: readonly ChatStep[]): number {
  return Math.max(...steps.map(({ deliveriesPerSecond }) => deliveriesPerSecond))
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}

async function measureCore(bench: Bench, layout: Layout): Promise<{ ours: Measured; conversations: Conversations }> {
  bench.say(`${layout.title}: a core and its conversations`)
  const cloud = await benchCloud(bench, {
    dir: join(bench.dir, `chat-${layout.name}`),
    // What is asked is how fast it is, not whom it holds back.
    config: { chat: { messagesPerMinute: ENDLESS, messagesBurst: ENDLESS } },
  })
  try {
    const conversations = await begin(cloud, layout)
    const url = `${cloud.apiUrl.replace(/^http/, 'ws')}/api/v1/ws`
    const ours = await load(bench, layout, 'core', { url, pid: cloud.pid, conversations })
    return { ours, conversations }
  } finally {
    await cloud.stop()
  }
}

async function begin(cloud: CloudProcess, { title, conversations, members }: Layout): Promise<Conversations> {
  const api = new ApiClient({ url: cloud.apiUrl, clock, random })
  const begun: { id: string; members: number[] }[] = []
  for (let number = 0; number < conversations; number++) {
    const indexes = Array.from({ length: members }, (_, i) => number * members + i)
    const [userId, ...userIds] = indexes.map(userIdOf)
    const { conversationId } = await api.post<{ conversationId: string }>('/api/v1/conversations', {
      ...{ kind: 'group', title: `${title}, ${number + 1}`, userIds, userId },
    })
    begun.push({ id: conversationId, members: indexes })
  }
  return begun
}

async function measureBroadcast(
  bench: Bench,
  layout: Layout,
  conversations: Conversations,
  sample: ChatSample,
): Promise<Measured> {
  const port = await freePort()
  const conversationsOf: Record<string, string[]> = {}
  for (const { id, members } of conversations) for (const each of members) conversationsOf[userIdOf(each)] = [id]
  const spec: ChatBroadcastSpec = { port, conversationsOf, sample }
  const child = startChild({
    command: [
      bunPath,
      join(import.meta.dirname, 'chat-broadcast.ts'),
      written(bench, `${layout.name}-broadcast`, spec),
    ],
  })
  try {
    const isUp = () =>
      fetch(`http://127.0.0.1:${port}/health/live`).then(
        ({ ok }) => ok,
        () => false,
      )
    await until(isUp, { what: `the broadcast listens: ${child.output()}` })
    const url = `ws://127.0.0.1:${port}/api/v1/ws`
    return await load(bench, layout, 'broadcast', { url, pid: child.pid, conversations })
  } finally {
    await child.kill('SIGKILL')
  }
}

async function load(
  bench: Bench,
  { name, title, ratePerSecond }: Layout,
  who: string,
  target: Pick<ChatLoadSpec, 'url' | 'pid' | 'conversations'>,
): Promise<Measured> {
  const steps: ChatStep[] = []
  let sample: ChatSample | null = null
  const spec: ChatLoadSpec = {
    ...target,
    userIds: Array.from({ length: SOCKETS }, (_, i) => userIdOf(i)),
    ratePerSecond,
    ...(bench.quick
      ? { growth: 3, warmUpMs: 500, measureMs: 1_500 }
      : { growth: 1.4, warmUpMs: 2_000, measureMs: 5_000 }),
    p99MsMax: P99_MS_MAX,
  }
  const child = startChild({
    command: [bunPath, join(import.meta.dirname, 'chat-load.ts'), written(bench, `${name}-${who}`, spec)],
    onLine(text) {
      if (!text.startsWith('{')) return
      const line = JSON.parse(text) as ChatLoadLine
      if (line.type === 'sample') {
        sample = line
        return
      }
      steps.push(line)
      const { latency, deliveriesPerSecond, serverCpu } = line
      bench.say(
        `${title}, ${who}: ${Math.round(line.ratePerSecond)} messages/s, ${Math.round(deliveriesPerSecond)} deliveries/s, ` +
          `p99 ${latency.p99Ms.toFixed(1)} ms, CPU ${percent(serverCpu)}, clients ${percent(line.clientCpu)}`,
      )
    },
  })
  const timer = clock.after(LOAD_MS_MAX, () => void child.kill('SIGKILL'))
  const { code } = await child.exited
  timer.cancel()
  if (code !== 0 || sample === null) throw new Error(`the clients ended with ${code}: ${child.output().slice(-2_000)}`)
  return { steps, sample }
}

function userIdOf(index: number): string {
  return `crew-${String(index).padStart(4, '0')}`
}

function written(bench: Bench, name: string, spec: object): string {
  const dir = join(bench.dir, 'chat')
  mkdirSync(dir, { recursive: true })
  const path = join(dir, `${name}.json`)
  writeFileSync(path, JSON.stringify(spec))
  return path
}
