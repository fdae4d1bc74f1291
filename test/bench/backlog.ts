/** An edge's directory with a backlog in its spool, made once a run and copied for every use. */

import { execFileSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { deviceNames, loadDevices } from '../support/edge-logins.ts'
import { startLoad } from '../support/mqtt-load-run.ts'
import { usageOf } from '../support/process-usage.ts'
import type { Bench } from './figure.ts'
import { benchEdge } from './programs.ts'

const DEVICES = 50
const IN_FLIGHT = 40

export interface Backlog {
  readonly records: number
  readonly payloadBytesMean: number
  /** Size of the spool's files after the edge stopped. */
  readonly diskBytes: number
  /** What the edge sent to the storage layer while it took them in. */
  readonly writtenBytes: number
  /** Memory of the edge that took them in, all of them in its spool. */
  readonly residentBytes: number
  /** Makes a copy of the edge's directory and returns its path. */
  copy(): string
}

const made = new Map<string, Promise<Backlog>>()

export function backlogRecords(bench: Bench): number {
  return bench.quick ? 50_000 : 1_000_000
}

/** The backlog of believable readings that the sections share. */
export function makeBacklog(bench: Bench): Promise<Backlog> {
  const ready = made.get(bench.dir) ?? fill(bench)
  made.set(bench.dir, ready)
  return ready
}

async function fill(bench: Bench): Promise<Backlog> {
  const records = backlogRecords(bench)
  bench.say(`taking in ${records.toLocaleString('en-US')} records as a backlog`)
  const dir = join(bench.dir, 'backlog')
  const names = deviceNames(DEVICES)
  const edge = await benchEdge(bench, {
    dir,
    devices: names,
  })
  const result = await startLoad({
    host: '127.0.0.1',
    port: edge.mqttPort,
    devices: loadDevices(names, edge.logins),
    inFlight: IN_FLIGHT,
    messages: records,
    payload: 'substation',
    payloadPool: 1000,
  }).result
  if (result.acked !== records) throw new Error(`${result.acked} of ${records} records were acknowledged`)
  const { writtenBytes, residentBytes } = usageOf(edge.pid)
  await edge.stop()
  let copies = 0
  return {
    records,
    payloadBytesMean: result.payloadBytesMean,
    diskBytes: sizeOf(join(dir, 'data')),
    writtenBytes,
    residentBytes,
    copy() {
      const to = join(bench.dir, `backlog-${++copies}`)
      execFileSync('cp', ['-r', '--reflink=auto', dir, to])
      return to
    },
  }
}

/** Bytes of all files below `dir`. */
export function sizeOf(dir: string): number {
  let bytes = 0
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) bytes += statSync(join(entry.parentPath, entry.name)).size
  }
  return bytes
}
