/**
 * From devices to Kafka at a fixed rate: what the chain carries for as long as one likes, and what a record costs. The
 * generator keeps its rate whatever the chain does, so a chain that cannot follow shows as a backlog.
 */

import { sleep, systemClock } from '../../shared/clock.ts'
import type { CloudProcess } from '../support/cloud-process.ts'
import { deviceNames, loadDevices } from '../support/edge-logins.ts'
import type { EdgeProcess } from '../support/edge-process.ts'
import { startLoad } from '../support/mqtt-load-run.ts'
import { usageOf } from '../support/process-usage.ts'
import { until } from '../support/until.ts'
import { type BenchKafka, benchKafka } from './bench-kafka.ts'
import type { Bench, Figure, Section } from './figure.ts'
import { benchCloud, benchEdge } from './programs.ts'

const DEVICES = 50
/** The rate that CPU per record is aimed at. */
const AIM_RATE = 50_000
const RATES = [20_000, 30_000, 40_000, 50_000, 60_000, 70_000, 80_000, 100_000]
const TOPIC = 'device-telemetry'

interface Step {
  readonly rate: number
  /** Records a second that reached Kafka while measuring. */
  readonly arrivedPerSecond: number
  readonly edgeCpuUs: number
  readonly cloudCpuUs: number
  /** Records in the spool, the most seen while measuring. */
  readonly lagMax: number
  readonly sustained: boolean
}

export const endToEnd: Section = {
  name: 'end-to-end',
  title: 'Devices to Kafka at a fixed rate',
  async run(bench) {
    const kafka = await benchKafka(bench, 'end-to-end')
    if (kafka === null) return []
    const names = deviceNames(DEVICES)
    const cloud = await benchCloud(bench, { dir: `${bench.dir}/e2e-cloud`, kafkaBrokers: kafka.brokers })
    const edge = await benchEdge(bench, { dir: `${bench.dir}/e2e-edge`, uplinkPort: cloud.ingestPort, devices: names })
    try {
      const steps: Step[] = []
      for (const rate of bench.quick ? [5_000] : RATES) {
        const step = await runStep(bench, rate, edge, cloud, kafka)
        steps.push(step)
        if (!step.sustained) break
      }
      return figuresOf(steps)
    } finally {
      await edge.stop()
      await cloud.stop()
      await kafka.stop()
    }
  },
}

async function runStep(bench: Bench, rate: number, edge: EdgeProcess, cloud: CloudProcess, kafka: BenchKafka) {
  const measureMs = bench.quick ? 2_000 : 15_000
  const warmUpMs = bench.quick ? 500 : 5_000
  bench.say(`${rate.toLocaleString('en-US')} records/s`)
  const names = deviceNames(DEVICES)
  const load = startLoad({
    host: '127.0.0.1',
    port: edge.mqttPort,
    devices: loadDevices(names, edge.logins),
    inFlight: 1000,
    ratePerSecond: rate,
    payload: 'substation',
    payloadPool: 2000,
    drainMs: 60_000,
  })
  await load.ready
  await sleep(systemClock, warmUpMs)
  const startMs = performance.now()
  const before = { edge: usageOf(edge.pid), cloud: usageOf(cloud.pid), arrived: await kafka.endOffset(TOPIC) }
  let lagMax = 0
  while (performance.now() - startMs < measureMs) {
    await sleep(systemClock, 500)
    lagMax = Math.max(lagMax, (await edge.status()).spool.lanes.telemetry.records)
  }
  const arrived = (await kafka.endOffset(TOPIC)) - before.arrived
  const elapsedS = (performance.now() - startMs) / 1000
  const cpuUs = (pid: number, since: { cpuMs: number }): number => ((usageOf(pid).cpuMs - since.cpuMs) * 1000) / arrived
  const step = {
    rate,
    arrivedPerSecond: arrived / elapsedS,
    edgeCpuUs: cpuUs(edge.pid, before.edge),
    cloudCpuUs: cpuUs(cloud.pid, before.cloud),
    lagMax,
  }
  load.finish()
  const { behind } = await load.result
  await until(async () => (await edge.status()).spool.lanes.telemetry.records === 0, { timeoutMs: 120_000 })
  // Bounded lag: less than a second's worth waits, at the devices or in the spool.
  const sustained = step.arrivedPerSecond > 0.98 * rate && lagMax < rate && behind < rate
  return { ...step, sustained }
}

function figuresOf(steps: readonly Step[]): Figure[] {
  const best = steps.filter((step) => step.sustained).at(-1)
  const beyond = steps.find((step) => !step.sustained)
  const costed = steps.find((step) => step.sustained && step.rate === AIM_RATE) ?? best ?? beyond
  const at = costed === undefined ? '' : `at ${costed.rate.toLocaleString('en-US')}/s`
  const figures: Figure[] = [
    {
      name: 'sustained, lag below a second',
      value: best?.rate ?? 0,
      unit: 'records/s',
      aim: { atLeast: AIM_RATE },
      note: steps.map((step) => `${step.rate / 1000}k${step.sustained ? '' : ' not'}`).join(', '),
    },
  ]
  if (costed !== undefined) {
    const { edgeCpuUs, cloudCpuUs, lagMax } = costed
    figures.push(
      { name: `CPU of edge and cloud ${at}`, value: edgeCpuUs + cloudCpuUs, unit: 'µs/record', aim: { atMost: 25 } },
      { name: `CPU of the edge ${at}`, value: edgeCpuUs, unit: 'µs/record' },
      { name: `CPU of the cloud ${at}`, value: cloudCpuUs, unit: 'µs/record' },
      { name: `largest backlog ${at}`, value: lagMax, unit: 'records' },
    )
  }
  if (beyond !== undefined) {
    const name = `arrived when ${beyond.rate.toLocaleString('en-US')}/s were offered`
    figures.push({ name, value: beyond.arrivedPerSecond, unit: 'records/s' })
  }
  return figures
}
