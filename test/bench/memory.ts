/** Resident memory: idle, with a thousand clients, with a backlog. */

import { sleep, systemClock } from '../../shared/clock.ts'
import { deviceNames, loadDevices } from '../support/edge-logins.ts'
import { startLoad } from '../support/mqtt-load-run.ts'
import { usageOf } from '../support/process-usage.ts'
import { makeBacklog } from './backlog.ts'
import type { Figure, Section } from './figure.ts'
import { benchCloud, benchEdge } from './programs.ts'

const SETTLE_MS = 3_000

export const memory: Section = {
  name: 'memory',
  title: 'Resident memory',
  async run(bench) {
    const mib = (bytes: number): number => bytes / 2 ** 20
    const settled = async (pid: number): Promise<number> => {
      await sleep(systemClock, bench.quick ? 500 : SETTLE_MS)
      return mib(usageOf(pid).residentBytes)
    }
    const figures: Figure[] = []
    const clients = bench.quick ? 100 : 1000
    const names = deviceNames(clients)
    const cloud = await benchCloud(bench, { dir: `${bench.dir}/memory-cloud` })
    try {
      const edge = await benchEdge(bench, {
        dir: `${bench.dir}/memory-edge`,
        uplinkPort: cloud.ingestPort,
        devices: names,
      })
      try {
        bench.say('idle')
        figures.push(
          { name: 'edge idle', value: await settled(edge.pid), unit: 'MiB', aim: { atMost: 80 } },
          { name: 'cloud idle, embedded bus', value: mib(usageOf(cloud.pid).residentBytes), unit: 'MiB' },
        )
        bench.say(`${clients} clients`)
        const load = startLoad({
          host: '127.0.0.1',
          port: edge.mqttPort,
          devices: loadDevices(names, edge.logins),
          inFlight: 1,
          // One reading a minute each: connected is what counts here.
          ratePerSecond: clients / 60,
          payload: 'constant',
        })
        await load.ready
        figures.push({ name: `edge with ${clients} clients`, value: await settled(edge.pid), unit: 'MiB' })
        load.finish()
        await load.result
      } finally {
        await edge.stop()
      }
    } finally {
      await cloud.stop()
    }
    const backlog = await makeBacklog(bench)
    const million = backlog.records.toLocaleString('en-US')
    const edge = await benchEdge(bench, { dir: backlog.copy() })
    try {
      figures.push(
        { name: `edge that just took in ${million} records`, value: mib(backlog.residentBytes), unit: 'MiB' },
        { name: `edge started with ${million} records`, value: await settled(edge.pid), unit: 'MiB' },
      )
    } finally {
      await edge.stop()
    }
    return figures
  },
}
