/**
 * From a device's publish to a Kafka consumer nobody here wrote (kcat), at a steady thousand records a second. Each
 * reading carries the time at which it was sent, or due to be sent where the broker delayed it; both clocks are this
 * machine's.
 */

import { spawn } from 'node:child_process'
import { sleep, systemClock } from '../../shared/clock.ts'
import { deviceNames, loadDevices } from '../support/edge-logins.ts'
import { LatencyHistogram } from '../support/latency-histogram.ts'
import { startLoad } from '../support/mqtt-load-run.ts'
import { usageOf } from '../support/process-usage.ts'
import { benchKafka } from './bench-kafka.ts'
import type { Figure, Section } from './figure.ts'
import { benchCloud, benchEdge } from './programs.ts'

const RATE = 1_000
const DEVICES = 20
const CONSUMER_JOINS_MS = 3_000
/** Until three just-in-time compilers have seen enough: what is asked is how the chain runs for months. */
const WARM_UP_MS = 20_000

export const latency: Section = {
  name: 'latency',
  title: 'Publish to Kafka consumer',
  async run(bench) {
    const kafka = await benchKafka(bench, 'latency')
    if (kafka === null) return []
    const names = deviceNames(DEVICES)
    const cloud = await benchCloud(bench, { dir: `${bench.dir}/latency-cloud`, kafkaBrokers: kafka.brokers })
    const edge = await benchEdge(bench, {
      dir: `${bench.dir}/latency-edge`,
      uplinkPort: cloud.ingestPort,
      devices: names,
    })
    const consumer = consume(kafka.brokers)
    try {
      bench.say(`${RATE} records/s`)
      await sleep(systemClock, CONSUMER_JOINS_MS)
      const load = startLoad({
        host: '127.0.0.1',
        port: edge.mqttPort,
        devices: loadDevices(names, edge.logins),
        inFlight: 100,
        ratePerSecond: RATE,
        payload: 'substation',
        marked: true,
      })
      await load.ready
      await sleep(systemClock, bench.quick ? 1_000 : WARM_UP_MS)
      const before = { edge: usageOf(edge.pid).cpuMs, cloud: usageOf(cloud.pid).cpuMs }
      const histogram = consumer.begin()
      await sleep(systemClock, bench.quick ? 2_000 : 20_000)
      consumer.end()
      const cpuMs = usageOf(edge.pid).cpuMs - before.edge + usageOf(cloud.pid).cpuMs - before.cloud
      load.finish()
      const { latency: puback } = await load.result
      const { count, p50Ms, p99Ms, maxMs } = histogram.summary()
      const figures: Figure[] = [
        { name: 'publish to consumer p50', value: p50Ms, unit: 'ms', aim: { atMost: 5 } },
        { name: 'publish to consumer p99', value: p99Ms, unit: 'ms', aim: { atMost: 15 } },
        { name: 'publish to consumer at most', value: maxMs, unit: 'ms', note: `${count} records` },
        { name: 'publish to durable PUBACK p50', value: puback.p50Ms, unit: 'ms' },
        { name: 'publish to durable PUBACK p99', value: puback.p99Ms, unit: 'ms' },
        { name: 'CPU of edge and cloud', value: (cpuMs * 1000) / Math.max(1, count), unit: 'µs/record' },
      ]
      return figures
    } finally {
      consumer.stop()
      await edge.stop()
      await cloud.stop()
      await kafka.stop()
    }
  },
}

/** A kcat that follows the topic's end and whose lines are timed as they come. */
function consume(brokers: readonly string[]): { begin(): LatencyHistogram; end(): void; stop(): void } {
  const settings = ['-X', 'fetch.wait.max.ms=100', '-X', 'fetch.min.bytes=1', '-X', 'socket.nagle.disable=true']
  const topic = ['-C', '-t', 'device-telemetry', '-o', 'end', '-u', '-q', '-f', '%s\n']
  const child = spawn('kcat', ['-b', brokers.join(','), ...settings, ...topic], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let histogram: LatencyHistogram | null = null
  let partial = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const nowUs = (performance.timeOrigin + performance.now()) * 1000
    const lines = (partial + chunk).split('\n')
    partial = lines.pop() ?? ''
    for (const line of lines) {
      const sentAtUs = Number(/"sentAtUs":"(\d+)"/.exec(line)?.[1])
      if (histogram !== null && sentAtUs > 0) histogram.record((nowUs - sentAtUs) / 1000)
    }
  })
  return {
    begin() {
      histogram = new LatencyHistogram()
      return histogram
    },
    end() {
      histogram = null
    },
    stop: () => void child.kill('SIGKILL'),
  }
}
