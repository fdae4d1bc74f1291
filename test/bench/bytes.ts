/** Bytes per record on the edge's disk and on the wire to the cloud, in bulk and at a low rate. */

import { join } from 'node:path'
import { deviceNames, loadDevices } from '../support/edge-logins.ts'
import { openLink } from '../support/link.ts'
import { startLoad } from '../support/mqtt-load-run.ts'
import { until } from '../support/until.ts'
import { makeBacklog, sizeOf } from './backlog.ts'
import type { Bench, Figure, Section } from './figure.ts'
import { benchCloud, benchEdge } from './programs.ts'

/** Readings a second of the low rate: twenty devices, one reading each every two seconds. */
const LOW_RATE = 10
const LOW_RATE_DEVICES = 20

export const bytes: Section = {
  name: 'bytes',
  title: 'Bytes per record',
  async run(bench) {
    const backlog = await makeBacklog(bench)
    const bulk = await bulkOnTheWire(bench, backlog.copy())
    const low = await lowRate(bench)
    const note = `payload ${Math.round(backlog.payloadBytesMean)} bytes`
    const figures: Figure[] = [
      { name: 'on disk, bulk', value: backlog.diskBytes / backlog.records, unit: 'B', aim: { atMost: 100 }, note },
      {
        name: 'written to disk, bulk',
        value: backlog.writtenBytes / backlog.records,
        unit: 'B',
        note: 'all writes: log, checkpoints, file',
      },
      { name: 'on the wire, bulk', value: bulk, unit: 'B', note: 'TCP payload from edge to cloud' },
      { name: `on disk, ${LOW_RATE} records/s`, value: low.disk, unit: 'B', note: 'after the edge has stopped' },
      { name: `on the wire, ${LOW_RATE} records/s`, value: low.wire, unit: 'B' },
    ]
    return figures
  },
}

async function bulkOnTheWire(bench: Bench, dir: string): Promise<number> {
  bench.say('draining a backlog to count bytes on the wire')
  const cloud = await benchCloud(bench, { dir: `${bench.dir}/bytes-cloud` })
  const link = await openLink({ targetPort: cloud.ingestPort })
  const edge = await benchEdge(bench, { dir, uplinkPort: link.port })
  try {
    const records = (await edge.status()).spool.lanes.telemetry.records
    const before = link.bytes.up
    await until(async () => (await edge.status()).spool.lanes.telemetry.records === 0, { timeoutMs: 180_000 })
    return (link.bytes.up - before) / records
  } finally {
    await edge.stop()
    await link.close()
    await cloud.stop()
  }
}

async function lowRate(bench: Bench): Promise<{ disk: number; wire: number }> {
  const durationMs = bench.quick ? 3_000 : 20_000
  const names = deviceNames(LOW_RATE_DEVICES)
  const run = async (dir: string, uplinkPort?: number) => {
    const edge = await benchEdge(bench, {
      dir,
      devices: names,
      ...(uplinkPort === undefined ? {} : { uplinkPort }),
    })
    // The files of an empty spool are not the records'.
    const emptyBytes = sizeOf(join(dir, 'data'))
    const { acked } = await startLoad({
      host: '127.0.0.1',
      port: edge.mqttPort,
      devices: loadDevices(names, edge.logins),
      inFlight: 10,
      ratePerSecond: LOW_RATE,
      durationMs,
      payload: 'substation',
    }).result
    if (uplinkPort !== undefined) {
      await until(async () => (await edge.status()).spool.lanes.telemetry.records === 0)
    }
    await edge.stop()
    return { acked, diskBytes: sizeOf(join(dir, 'data')) - emptyBytes }
  }
  bench.say(`${LOW_RATE} records/s to disk`)
  const stored = await run(join(bench.dir, 'bytes-low-disk'))
  bench.say(`${LOW_RATE} records/s over the wire`)
  const cloud = await benchCloud(bench, { dir: join(bench.dir, 'bytes-low-cloud') })
  const link = await openLink({ targetPort: cloud.ingestPort })
  try {
    const sent = await run(join(bench.dir, 'bytes-low-wire'), link.port)
    return { disk: stored.diskBytes / stored.acked, wire: link.bytes.up / sent.acked }
  } finally {
    await link.close()
    await cloud.stop()
  }
}
