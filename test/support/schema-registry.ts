/**
 * A real schema registry for tests: Apicurio, which speaks Confluent's REST API, on a free port. What it knows is in a
 * temporary directory, so that it is still known after a kill.
 */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe } from 'vitest'
import { type Child, startChild } from './child.ts'
import { freePort } from './free-port.ts'
import { registryJar, registryMissing } from './schema-registry-program.ts'
import { until } from './until.ts'

export interface TestRegistry {
  /** Base of Confluent's REST API. */
  readonly url: string
  /** Registers a schema as somebody else would; its id. */
  register(subject: string, schema: string): Promise<number>
  /** Whether the schema may follow those of the subject. */
  isCompatible(subject: string, schema: string): Promise<boolean>
  /** kill -9. */
  kill(): Promise<void>
  /** Starts it again after a kill; resolves when it answers. */
  restart(): Promise<void>
  /** Ends it and removes what it knows. */
  stop(): Promise<void>
}

const START_TIMEOUT_MS = 40_000
const HEAP = ['-Xmx128m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
const JSON_TYPE = { 'content-type': 'application/vnd.schemaregistry.v1+json' }

/** `describe` where a registry can be had; elsewhere a loud skip, and a failure when CI=true. */
export const describeRegistry: typeof describe.skip = registryMissing() === null ? describe : describe.skip

/** Every subject is FULL_TRANSITIVE: what proto/README.md promises is what it holds schemas to. */
export async function startRegistry(): Promise<TestRegistry> {
  const jar = await registryJar()
  const dir = await mkdtemp(join(tmpdir(), 'busbar-registry-'))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}/apis/ccompat/v7`
  const command = [
    'java',
    ...HEAP,
    `-Dapicurio.datasource.url=jdbc:h2:file:${join(dir, 'registry')};WRITE_DELAY=0`,
    '-Dquarkus.http.host=127.0.0.1',
    `-Dquarkus.http.port=${port}`,
    '-jar',
    jar,
  ] as const
  let child: Child
  const launch = async (): Promise<void> => {
    const begun = startChild({ command: [...command], cwd: dir })
    child = begun
    const ready = { what: 'the registry answers', timeoutMs: START_TIMEOUT_MS, pollMs: 100 }
    await until(() => begun.exit !== null || answers(`${url}/subjects`), ready)
    if (begun.exit !== null) throw new Error(`the registry ended:\n${begun.output().slice(-2000)}`)
  }
  const ask = async (method: string, path: string, body: object): Promise<Record<string, unknown>> => {
    const response = await fetch(`${url}${path}`, { method, headers: JSON_TYPE, body: JSON.stringify(body) })
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
    return (await response.json()) as Record<string, unknown>
  }
  const registry: TestRegistry = {
    url,
    register: async (subject, schema) =>
      (await ask('POST', `/subjects/${encodeURIComponent(subject)}/versions`, { schema })).id as number,
    isCompatible: async (subject, schema) => {
      const path = `/compatibility/subjects/${encodeURIComponent(subject)}/versions/latest`
      return (await ask('POST', path, { schema })).is_compatible === true
    },
    kill: async () => void (await child.kill('SIGKILL')),
    restart: launch,
    stop: async () => {
      await child.kill('SIGKILL')
      await rm(dir, { recursive: true, force: true })
    },
  }
  try {
    await launch()
    // Its own default is to compare nothing, which no other registry's is.
    await ask('PUT', '/config', { compatibility: 'FULL_TRANSITIVE' })
  } catch (error) {
    await registry.stop()
    throw error
  }
  return registry
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) })
    await response.body?.cancel()
    return response.ok
  } catch {
    return false
  }
}
