/** A program of somebody else that reads and writes topics in Avro: avro-peer.py, with aiokafka and fastavro. */

import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startChild } from './child.ts'
import type { AnyJson } from './json-request.ts'
import type { TestRegistry } from './schema-registry.ts'
import { until } from './until.ts'

export interface SeenRecord {
  readonly topic: string
  readonly key: string
  readonly headers: Readonly<Record<string, string>>
  /** Unreadable: no schema of that id, or bytes that are not as it says. */
  readonly encoding: 'json' | 'avro' | 'unreadable'
  readonly value: AnyJson
}

/** A schema that it writes by. */
export interface PeerSchema {
  readonly path: string
  readonly id: number
}

export interface AvroPeer {
  /** What it read so far. */
  readonly seen: readonly SeenRecord[]
  /** Resolves when it has read such a record. */
  record(topic: string, holds: (each: SeenRecord) => boolean): Promise<SeenRecord>
  /** Registers the schema in a file and writes by it from then on. */
  schema(subject: string, path: string): Promise<PeerSchema>
  /** Writes one record, in JSON unless there is a schema. */
  produce(
    topic: string,
    key: string,
    value: object,
    schema?: PeerSchema,
    headers?: Readonly<Record<string, string>>,
  ): Promise<void>
  stop(): Promise<void>
}

const SCRIPT = join(import.meta.dirname, 'avro-peer.py')

/** It reads `topics` from their oldest record on. */
export function startAvroPeer(options: {
  readonly python: string
  readonly brokers: readonly string[]
  readonly registry: TestRegistry
  readonly topics: readonly string[]
}): AvroPeer {
  const { python, registry, topics } = options
  const brokers = options.brokers.join(',')
  const seen: SeenRecord[] = []
  const child = startChild({
    command: [python, SCRIPT, 'follow', '--brokers', brokers, '--registry', registry.url, ...topics],
    onLine: (line) => seen.push(JSON.parse(line)),
  })
  return {
    seen,
    record: (topic, holds) => {
      const look = (): SeenRecord | undefined => {
        if (child.exit !== null) throw new Error(`the program in Python ended:\n${child.output()}`)
        return seen.find((each) => each.topic === topic && holds(each))
      }
      return until(look, { what: `the program in Python read a record of ${topic}` })
    },
    schema: async (subject, path) => ({ path, id: await registry.register(subject, await readFile(path, 'utf8')) }),
    produce: async (topic, key, value, schema, headers = {}) => {
      const record = ['--topic', topic, '--key', key, '--value', JSON.stringify(value)]
      const named = Object.entries(headers).flatMap(([name, text]) => ['--header', `${name}=${text}`])
      const avro = schema === undefined ? [] : ['--schema', schema.path, '--id', String(schema.id)]
      await promisify(execFile)(python, [SCRIPT, 'produce', '--brokers', brokers, ...record, ...named, ...avro])
    },
    stop: async () => void (await child.kill('SIGKILL')),
  }
}
