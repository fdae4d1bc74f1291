/** The cloud core as a child process, from its sources or as the compiled binary. */

import { mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bunPath, projectDir } from './child.ts'
import { freePort } from './free-port.ts'
import { type ServerProcess, startServer } from './server-process.ts'
import { mergeToml, type TomlTable } from './toml.ts'

export interface CloudProcessOptions {
  /** Where its config and data go; made below the temporary directory when absent. The caller removes it. */
  readonly dir?: string
  /** Addresses host:port; the embedded bus when absent. */
  readonly kafkaBrokers?: readonly string[]
  /** SQLite below `dir` when absent. */
  readonly databaseUrl?: string
  readonly ingestPort?: number
  readonly apiPort?: number
  /** Laid over the config of cloud.toml. */
  readonly config?: TomlTable
  /** Path of a compiled binary; from the sources when absent. */
  readonly binary?: string
  /** Arguments of Bun when run from the sources, such as --cpu-prof. */
  readonly runtimeArguments?: readonly string[]
  /** Put before the program: strace, faketime, ip netns exec … */
  readonly wrapper?: readonly string[]
  readonly env?: Readonly<Record<string, string | undefined>>
}

export interface CloudProcess extends ServerProcess {
  readonly ingestPort: number
  readonly apiPort: number
  readonly apiUrl: string
  readonly dir: string
  /** Directory of the embedded bus. */
  readonly busDir: string
  readonly configPath: string
}

/** Resolves when the cloud is live: it listens, whatever the state of Kafka and the database. */
export async function startCloud(options: CloudProcessOptions = {}): Promise<CloudProcess> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'busbar-cloud-'))
  const busDir = join(dir, 'bus')
  mkdirSync(busDir, { recursive: true })
  const ingestPort = options.ingestPort ?? (await freePort())
  const apiPort = options.apiPort ?? (await freePort())
  const configPath = join(dir, 'cloud.toml')
  const base: TomlTable = {
    ingest: { port: ingestPort, insecure: true },
    api: { port: apiPort, insecure: true },
    identity: { masterKeyFile: join(dir, 'master.key') },
    bus: { dir: busDir },
    kafka: options.kafkaBrokers === undefined ? {} : { brokers: options.kafkaBrokers },
    database: { url: options.databaseUrl ?? `sqlite:${join(dir, 'busbar.db')}` },
    log: { format: 'json' },
  }
  const source = [bunPath, ...(options.runtimeArguments ?? []), join(projectDir, 'cloud', 'main.ts')]
  const program = options.binary === undefined ? source : [options.binary]
  const { tls } = (options.config?.api ?? {}) as { readonly tls?: { readonly enabled?: boolean } }
  const apiUrl = `${tls?.enabled === true ? 'https' : 'http'}://127.0.0.1:${apiPort}`
  const server = await startServer({
    command: [...(options.wrapper ?? []), ...program, 'serve', '--config'] as unknown as [string, ...string[]],
    configPath,
    config: mergeToml(base, options.config ?? {}),
    ...(options.env === undefined ? {} : { env: options.env }),
    readyUrl: `${apiUrl}/health/live`,
  })
  return Object.assign(server, { ingestPort, apiPort, apiUrl, dir, busDir, configPath })
}
