/** Reading topics with kcat, a client nobody here wrote. */

import { spawn } from 'node:child_process'
import type { ArrivedReading } from './arrival.ts'

export interface KcatRecord {
  readonly partition: number
  readonly offset: number
  readonly key: string | null
  readonly payload: string
  readonly headers: Readonly<Record<string, string>>
}

interface KcatEnvelope {
  readonly partition: number
  readonly offset: number
  readonly key: string | null
  readonly payload: string
  readonly headers?: readonly string[]
}

/** Everything a topic holds, each partition in its order. */
export async function readTopic(
  brokers: readonly string[],
  topic: string,
  settings: readonly string[] = [],
): Promise<KcatRecord[]> {
  const from = ['-C', '-t', topic, '-o', 'beginning', '-e', '-q', '-J']
  const child = spawn('kcat', ['-b', brokers.join(','), ...from, ...settings])
  const output: Buffer[] = []
  const errors: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => errors.push(chunk))
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  if (status !== 0) throw new Error(`kcat exited with ${status}: ${Buffer.concat(errors)}`)
  const lines = Buffer.concat(output).toString('utf8').split('\n')
  return lines.filter((line) => line !== '').map((line) => toRecord(JSON.parse(line) as KcatEnvelope))
}

/** A record of device-telemetry whose reading is numbered by a journal device. */
export function toArrivedReading(record: KcatRecord): ArrivedReading {
  const value = JSON.parse(record.payload) as { serialNumber: string; telemetryData: { n: number } }
  return {
    serialNumber: value.serialNumber,
    n: value.telemetryData.n,
    gateway: record.headers['gateway'] ?? '',
    seq: record.headers['seq'] ?? '',
    backfill: record.headers['backfill'] === 'true',
  }
}

/** kcat prints headers as a flat list of names and values. */
function toRecord(envelope: KcatEnvelope): KcatRecord {
  const { partition, offset, key, payload, headers = [] } = envelope
  const pairs: [string, string][] = []
  for (let i = 0; i + 1 < headers.length; i += 2) pairs.push([headers[i] as string, headers[i + 1] as string])
  return { partition, offset, key, payload, headers: Object.fromEntries(pairs) }
}
