/**
 * How fast devices get PUBACKs that mean "on disk", held against Mosquitto with persistence off, whose PUBACK means "in
 * memory". The two take turns, so that what else the machine does hits both; the uplink is off.
 */

import { deviceNames, loadDevices } from '../support/edge-logins.ts'
import { type Mosquitto, startMosquitto } from '../support/mosquitto.ts'
import { startLoad } from '../support/mqtt-load-run.ts'
import type { LoadDevice, LoadResult } from '../support/mqtt-load-spec.ts'
import { usageOf } from '../support/process-usage.ts'
import { type Bench, type Figure, median, type Section } from './figure.ts'
import { benchEdge } from './programs.ts'

interface Case {
  readonly clients: number
  readonly inFlight: number
  /** Of Mosquitto's rate. One message at a time is bound by the disk's sync alone and has none. */
  readonly ratioMin?: number
}

const CASES: readonly Case[] = [
  { clients: 1, inFlight: 1 },
  { clients: 1, inFlight: 100, ratioMin: 1.5 },
  { clients: 10, inFlight: 20, ratioMin: 1.5 },
  { clients: 100, inFlight: 20, ratioMin: 1.5 },
]

interface Run {
  readonly result: LoadResult
  readonly cpuUsPerMessage: number
}

export const durableRate: Section = {
  name: 'durable-rate',
  title: 'QoS 1 from devices: durable PUBACKs, and Mosquitto in memory',
  async run(bench) {
    const mosquitto = await startMosquitto()
    if (mosquitto === null) bench.skip('durable-rate: mosquitto is not installed, nothing to compare with')
    try {
      const figures: Figure[] = []
      for (const each of CASES) figures.push(...(await runCase(bench, each, mosquitto)))
      return figures
    } finally {
      await mosquitto?.stop()
    }
  },
}

async function runCase(bench: Bench, { clients, inFlight, ratioMin }: Case, mosquitto: Mosquitto | null) {
  const label = `${clients}×${inFlight}`
  const names = deviceNames(clients)
  const edge = await benchEdge(bench, {
    dir: `${bench.dir}/durable-${clients}-${inFlight}`,
    devices: names,
    // A single client is to show what the broker can do.
    config: { mqtt: { publishRateMax: 1_000_000 } },
  })
  const ours: Run[] = []
  const theirs: Run[] = []
  try {
    for (let round = 0; round < (bench.quick ? 1 : 3); round++) {
      if (mosquitto !== null) {
        bench.say(`${label}: Mosquitto, round ${round + 1}`)
        theirs.push(await measure(bench, mosquitto.port, mosquitto.pid, loadDevices(names), inFlight))
      }
      bench.say(`${label}: Busbar, round ${round + 1}`)
      ours.push(await measure(bench, edge.mqttPort, edge.pid, loadDevices(names, edge.logins), inFlight))
    }
  } finally {
    await edge.stop()
  }
  const rate = (runs: readonly Run[]): number => median(runs.map(({ result }) => result.ratePerSecond))
  const ratio = rate(ours) / rate(theirs)
  const figures = (who: string, runs: readonly Run[]): Figure[] => [
    { name: `${label} ${who} rate`, value: rate(runs), unit: 'msg/s' },
    { name: `${label} ${who} p50`, value: median(runs.map(({ result }) => result.latency.p50Ms)), unit: 'ms' },
    { name: `${label} ${who} p99`, value: median(runs.map(({ result }) => result.latency.p99Ms)), unit: 'ms' },
    { name: `${label} ${who} CPU`, value: median(runs.map((run) => run.cpuUsPerMessage)), unit: 'µs/msg' },
  ]
  const compared: Figure[] = [
    {
      name: `${label} ratio of rates`,
      value: ratio,
      unit: '× Mosquitto',
      ...(ratioMin === undefined ? {} : { aim: { atLeast: ratioMin } }),
    },
  ]
  return [...figures('Busbar', ours), ...(theirs.length > 0 ? [...figures('Mosquitto', theirs), ...compared] : [])]
}

async function measure(
  bench: Bench,
  port: number,
  pid: number,
  devices: readonly LoadDevice[],
  inFlight: number,
): Promise<Run> {
  const cpuBefore = usageOf(pid).cpuMs
  const load = startLoad({
    host: '127.0.0.1',
    port,
    devices,
    inFlight,
    payload: 'substation',
    warmUpMs: bench.quick ? 200 : 1000,
    durationMs: bench.quick ? 800 : 3000,
  })
  const result = await load.result
  return { result, cpuUsPerMessage: ((usageOf(pid).cpuMs - cpuBefore) * 1000) / Math.max(1, result.acked) }
}
