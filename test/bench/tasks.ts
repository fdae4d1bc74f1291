/**
 * A task over many devices behind many gateways, from the request to the last result, beside the same fleet reached by plain
 * MQTT through one Mosquitto with persistence off: what all the storing on the way costs. The two take turns, so that what
 * else the machine does hits both. Meters answer at once.
 */

import { ApiClient, type PageBody } from '../../cloud/cli/api-client.ts'
import type { TaskBody } from '../../cloud/cli/progress.ts'
import { systemClock as clock, sleep } from '../../shared/clock.ts'
import { deviceTopic } from '../../shared/mqtt-topics.ts'
import { systemRandom as random } from '../../shared/random.ts'
import type { BehaviourOptions } from '../simulation/command-behaviour.ts'
import type { CloudProcess } from '../support/cloud-process.ts'
import type { EdgeProcess } from '../support/edge-process.ts'
import { LatencyHistogram, type LatencySummary } from '../support/latency-histogram.ts'
import { MeterFleet, meterNames } from '../support/meter-fleet.ts'
import { type Mosquitto, startMosquitto } from '../support/mosquitto.ts'
import { MqttPeer } from '../support/mqtt-peer.ts'
import { usageOf } from '../support/process-usage.ts'
import { until } from '../support/until.ts'
import { type Bench, type Figure, median, type Section } from './figure.ts'
import { benchCloud, benchEdge } from './programs.ts'

interface Size {
  readonly devices: number
  readonly gateways: number
  readonly rounds: number
}

/** Devices that have their command at one time, on both ways. */
const CONCURRENCY = 1_000
const STUCK_MS = 180_000
const AT_ONCE: BehaviourOptions = { seed: 1, failing: 0, rejecting: 0, slow: 0, silent: 0, answerMs: [0, 0] }

interface Round {
  readonly perSecond: number
  readonly latency: LatencySummary
}

interface Memory {
  core: number
  edges: number
}

export const tasks: Section = {
  name: 'tasks',
  title: 'A task over many devices, and plain MQTT to the same fleet',
  async run(bench) {
    const size = bench.quick ? { devices: 2_000, gateways: 4, rounds: 1 } : { devices: 10_000, gateways: 10, rounds: 3 }
    const mosquitto = await startMosquitto()
    if (mosquitto === null) bench.skip('tasks: mosquitto is not installed, nothing to compare with')
    const site = await startSite(bench, size)
    const [ours, theirs]: [Round[], Round[]] = [[], []]
    const memory: Memory = { core: 0, edges: 0 }
    try {
      for (let round = 0; round < size.rounds; round++) {
        if (mosquitto !== null) {
          bench.say(`plain MQTT, round ${round + 1}`)
          theirs.push(await plainRound(mosquitto, size))
        }
        bench.say(`task, round ${round + 1}`)
        ours.push(await taskRound(site, memory))
      }
    } finally {
      await site.stop()
      await mosquitto?.stop()
    }
    return figuresOf(size, ours, theirs, memory)
  },
}

function figuresOf({ devices, gateways }: Size, ours: readonly Round[], theirs: readonly Round[], memory: Memory) {
  const middle = (rounds: readonly Round[], value: (round: Round) => number): number => median(rounds.map(value))
  const rounds = (who: string, of: readonly Round[], from: string): Figure[] => [
    { name: `${who}, results`, value: middle(of, ({ perSecond }) => perSecond), unit: 'devices/s' },
    { name: `${who}, ${from} p50`, value: middle(of, ({ latency }) => latency.p50Ms), unit: 'ms' },
    { name: `${who}, ${from} p99`, value: middle(of, ({ latency }) => latency.p99Ms), unit: 'ms' },
  ]
  const note = `${devices} devices, ${gateways} gateways, ${CONCURRENCY} at one time`
  const [task, ...more] = rounds('task', ours, 'issue to result')
  const figures: Figure[] = [{ ...(task as Figure), note }, ...more]
  if (theirs.length > 0) {
    figures.push(...rounds('plain MQTT', theirs, 'command to answer'))
    const ratio = middle(ours, ({ perSecond }) => perSecond) / middle(theirs, ({ perSecond }) => perSecond)
    figures.push({ name: 'ratio of results', value: ratio, unit: '× plain MQTT' })
  }
  figures.push(
    { name: 'core, most memory', value: memory.core / 2 ** 20, unit: 'MiB' },
    { name: 'largest edge, most memory', value: memory.edges / 2 ** 20, unit: 'MiB' },
  )
  return figures
}

interface TaskSite {
  readonly api: ApiClient
  readonly cloud: CloudProcess
  readonly edges: readonly EdgeProcess[]
  readonly fleets: readonly MeterFleet[]
  stop(): Promise<void>
}

/** Resolves when every meter is registered and takes commands. */
async function startSite(bench: Bench, { devices, gateways }: Size): Promise<TaskSite> {
  bench.say(`starting ${gateways} gateways with ${devices} meters`)
  const cloud = await benchCloud(bench, { dir: `${bench.dir}/tasks-cloud` })
  const [edges, fleets]: [EdgeProcess[], MeterFleet[]] = [[], []]
  const stop = async (): Promise<void> => {
    await Promise.all(fleets.map((fleet) => fleet.stop()))
    await Promise.all(edges.map((edge) => edge.stop()))
    await cloud.stop()
  }
  const api = new ApiClient({ url: cloud.apiUrl, clock, random })
  try {
    for (let gateway = 1; gateway <= gateways; gateway++) {
      const edge = await benchEdge(bench, {
        dir: `${bench.dir}/tasks-edge-${gateway}`,
        gatewayId: `gateway-${gateway}`,
        uplinkPort: cloud.ingestPort,
        config: { mqtt: { insecure: true } },
      })
      edges.push(edge)
      const serialNumbers = namesOf(gateway, devices / gateways)
      const fleet = new MeterFleet({ port: edge.mqttPort, siteId: gateway, serialNumbers, behaviour: AT_ONCE })
      fleets.push(fleet)
      await fleet.start()
      await fleet.announce()
    }
    const registered = async () => (await api.list('/api/v1/devices', {}, devices)).items.length
    await until(async () => (await registered()) === devices, { timeoutMs: STUCK_MS, pollMs: 500 })
  } catch (error) {
    await stop()
    throw error
  }
  return { api, cloud, edges, fleets, stop }
}

function namesOf(gateway: number, count: number): string[] {
  return meterNames(count, `MTR-${gateway}-`)
}

async function taskRound({ api, cloud, edges, fleets }: TaskSite, memory: Memory): Promise<Round> {
  for (const fleet of fleets) fleet.executions.clear()
  const beganMs = performance.now()
  const { taskId } = await api.post<TaskBody>('/api/v1/tasks', {
    command_type: 'SET_TOU',
    command_params: { tou_profile_id: 'TOU-2026-WINTER' },
    device_type: 'METER',
    requested_by: 'bench',
    options: { concurrency: CONCURRENCY },
  })
  let task: TaskBody
  do {
    await sleep(clock, 50)
    task = await api.get<TaskBody>(`/api/v1/tasks/${taskId}`)
    memory.core = Math.max(memory.core, usageOf(cloud.pid).residentBytes)
    memory.edges = Math.max(memory.edges, ...edges.map(({ pid }) => usageOf(pid).residentBytes))
    if (performance.now() - beganMs > STUCK_MS) throw new Error(`stuck at ${JSON.stringify(task.tally)}`)
  } while (task.state !== 'COMPLETED')
  const elapsedMs = performance.now() - beganMs
  const { device_count, tally } = task
  if (tally.SUCCEEDED !== device_count) throw new Error(`not all succeeded: ${JSON.stringify(tally)}`)
  const twice = fleets.flatMap((fleet) => fleet.executedTwice())
  if (twice.length > 0) throw new Error(`${twice.length} commands were executed twice`)
  return { perSecond: (device_count * 1_000) / elapsedMs, latency: await issueToResult(api, taskId, fleets) }
}

/** By the times that the command carries and the task tells, both of the core. */
async function issueToResult(api: ApiClient, taskId: string, fleets: readonly MeterFleet[]): Promise<LatencySummary> {
  type Device = { readonly command_id: string; readonly finished_at: string }
  const histogram = new LatencyHistogram()
  const { items }: PageBody<Device> = await api.list(`/api/v1/tasks/${taskId}/devices`, {}, 1_000_000)
  for (const { command_id, finished_at } of items) {
    const execution = fleets.map(({ executions }) => executions.get(command_id)).find((each) => each !== undefined)
    if (execution === undefined) throw new Error(`${command_id} succeeded and no meter executed it`)
    histogram.record(Date.parse(finished_at) - Date.parse(execution.command.issuedAt))
  }
  return histogram.summary()
}

/** The same commands to the same number of meters through one broker, as many at one time. */
async function plainRound(mosquitto: Mosquitto, { devices, gateways }: Size): Promise<Round> {
  const { port } = mosquitto
  const fleets: MeterFleet[] = []
  const waiting: string[] = []
  for (let gateway = 1; gateway <= gateways; gateway++) {
    const serialNumbers = namesOf(gateway, devices / gateways)
    fleets.push(new MeterFleet({ port, siteId: gateway, serialNumbers, behaviour: AT_ONCE, durable: false }))
    for (const each of serialNumbers) waiting.push(deviceTopic(gateway, each, 'commands'))
  }
  const histogram = new LatencyHistogram()
  const sentAtMs = new Map<string, number>()
  let finished: () => void = () => undefined
  const done = new Promise<void>((resolve) => {
    finished = resolve
  })
  const send = (): void => {
    const topic = waiting.pop()
    if (topic === undefined) return
    const nowMs = performance.now()
    const commandId = `plain-${waiting.length}`
    sentAtMs.set(commandId, nowMs)
    const [issuedAt, expiresAt] = [clock.wallMs(), clock.wallMs() + 3_600_000].map((ms) => new Date(ms).toISOString())
    const params = { tou_profile_id: 'TOU-2026-WINTER' }
    control.publish(topic, JSON.stringify({ commandId, name: 'SET_TOU', params, issuedAt, expiresAt }), 2)
  }
  const control = new MqttPeer({
    clientId: 'control',
    port,
    subscriptions: ['sites/+/devices/+/responses'],
    onMessage(_topic, payload) {
      const { commandId } = JSON.parse(payload.toString()) as { commandId: string }
      histogram.record(performance.now() - (sentAtMs.get(commandId) ?? 0))
      if (histogram.count === devices) finished()
      else send()
    },
  })
  try {
    await Promise.all([control.start(), ...fleets.map((fleet) => fleet.start())])
    const beganMs = performance.now()
    for (let i = 0; i < CONCURRENCY; i++) send()
    await done
    return { perSecond: (devices * 1_000) / (performance.now() - beganMs), latency: histogram.summary() }
  } finally {
    await control.stop()
    await Promise.all(fleets.map((fleet) => fleet.stop()))
  }
}
