/** How fast a backlog drains after an outage, to the embedded bus and to Kafka. */

import { sleep, systemClock } from '../../shared/clock.ts'
import type { CloudProcess } from '../support/cloud-process.ts'
import type { EdgeProcess } from '../support/edge-process.ts'
import { usageOf } from '../support/process-usage.ts'
import { makeBacklog } from './backlog.ts'
import { benchKafka } from './bench-kafka.ts'
import type { Bench, Figure, Section } from './figure.ts'
import { benchCloud, benchEdge } from './programs.ts'

const POLL_MS = 50
const STUCK_MS = 120_000

export const drain: Section = {
  name: 'drain',
  title: 'Drain of a backlog after an outage',
  async run(bench) {
    const backlog = await makeBacklog(bench)
    const figures: Figure[] = []
    for (const bus of ['embedded', 'kafka'] as const) {
      const kafka = bus === 'kafka' ? await benchKafka(bench, 'drain') : null
      if (bus === 'kafka' && kafka === null) continue
      bench.say(`draining to ${bus === 'kafka' ? 'Kafka' : 'the embedded bus'}`)
      const cloud = await benchCloud(bench, {
        dir: `${bench.dir}/drain-${bus}`,
        ...(kafka === null ? {} : { kafkaBrokers: kafka.brokers }),
      })
      try {
        figures.push(...(await measure(bench, bus, cloud, backlog.copy(), backlog.records)))
      } finally {
        await cloud.stop()
        await kafka?.stop()
      }
    }
    return figures
  },
}

async function measure(bench: Bench, bus: 'embedded' | 'kafka', cloud: CloudProcess, dir: string, records: number) {
  const before = usageOf(cloud.pid).cpuMs
  const edge = await benchEdge(bench, {
    dir,
    uplinkPort: cloud.ingestPort,
  })
  try {
    const { ms, peakResident } = await untilDrained(edge, cloud, records)
    const cpuUs = (ms: number): number => (ms * 1000) / records
    const where = bus === 'kafka' ? 'to Kafka' : 'to the embedded bus'
    const atLeast = bus === 'kafka' ? 50_000 : 100_000
    return [
      { name: `drain ${where}`, value: records / (ms / 1000), unit: 'records/s', aim: { atLeast } },
      { name: `edge CPU, ${where}`, value: cpuUs(usageOf(edge.pid).cpuMs), unit: 'µs/record' },
      { name: `cloud CPU, ${where}`, value: cpuUs(usageOf(cloud.pid).cpuMs - before), unit: 'µs/record' },
      { name: `edge memory at most, ${where}`, value: peakResident.edge / 2 ** 20, unit: 'MiB' },
      { name: `cloud memory at most, ${where}`, value: peakResident.cloud / 2 ** 20, unit: 'MiB' },
    ]
  } finally {
    await edge.stop()
  }
}

/** Milliseconds from the first acknowledged record to the last. */
async function untilDrained(edge: EdgeProcess, cloud: CloudProcess, records: number) {
  let startMs = performance.now()
  let left = records
  let movedMs = startMs
  const peakResident = { edge: 0, cloud: 0 }
  while (left > 0) {
    await sleep(systemClock, POLL_MS)
    const now = performance.now()
    const { lanes } = (await edge.status()).spool
    const next = lanes.telemetry.records
    if (left === records && next < records) startMs = movedMs
    if (next !== left || left === records) movedMs = now
    if (now - Math.max(movedMs, startMs) > STUCK_MS) throw new Error(`stuck with ${next} records\n${edge.logs()}`)
    left = next
    peakResident.edge = Math.max(peakResident.edge, usageOf(edge.pid).residentBytes)
    peakResident.cloud = Math.max(peakResident.cloud, usageOf(cloud.pid).residentBytes)
  }
  return { ms: performance.now() - startMs, peakResident }
}
