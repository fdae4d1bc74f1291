/** How long the edge takes from exec until a device can log in, with a backlog and without. */

import { connect } from 'node:net'
import { join } from 'node:path'
import { until } from '../support/until.ts'
import { makeBacklog } from './backlog.ts'
import { type Bench, type Figure, median, type Section } from './figure.ts'
import { benchEdge } from './programs.ts'

export const startTime: Section = {
  name: 'start-time',
  title: 'Start of the edge until it takes MQTT connections',
  async run(bench) {
    const rounds = bench.quick ? 1 : 5
    const empty = await medianStart(bench, join(bench.dir, 'start-empty'), rounds)
    const backlog = await makeBacklog(bench)
    const full = await medianStart(bench, backlog.copy(), rounds)
    const million = backlog.records.toLocaleString('en-US')
    const figures: Figure[] = [
      { name: 'with an empty spool', value: empty, unit: 'ms' },
      { name: `with ${million} records of backlog`, value: full, unit: 'ms', aim: { atMost: 1000 } },
    ]
    return figures
  },
}

async function medianStart(bench: Bench, dir: string, rounds: number): Promise<number> {
  const times: number[] = []
  // The first start creates the files and warms the page cache; it does not count.
  for (let round = 0; round <= rounds; round++) {
    const startMs = performance.now()
    const edge = await benchEdge(bench, { dir })
    await until(() => accepts(edge.mqttPort), { pollMs: 1, what: 'the edge accepts MQTT connections' })
    if (round > 0) times.push(performance.now() - startMs)
    await edge.stop()
  }
  return median(times)
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
