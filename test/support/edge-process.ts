/** The edge as a child process, from its sources or as the compiled binary. */

import { mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bunPath, projectDir } from './child.ts'
import { freePort } from './free-port.ts'
import { type ServerProcess, startServer } from './server-process.ts'
import { mergeToml, type TomlTable } from './toml.ts'

export interface EdgeProcessOptions {
  /** Where its config and data go; made below the temporary directory when absent. The caller removes it. */
  readonly dir?: string
  readonly gatewayId?: string
  /** Port of the cloud's ingest, or of a link to it; without one the uplink is off. */
  readonly uplinkPort?: number
  readonly mqttPort?: number
  readonly healthPort?: number
  /** Laid over the config of edge.toml. */
  readonly config?: TomlTable
  /** Path of a compiled binary; from the sources when absent. */
  readonly binary?: string
  /** Put before the program: strace, faketime, ip netns exec … */
  readonly wrapper?: readonly string[]
  readonly env?: Readonly<Record<string, string | undefined>>
}

export interface EdgeProcess extends ServerProcess {
  readonly gatewayId: string
  readonly mqttPort: number
  readonly healthPort: number
  readonly healthUrl: string
  readonly dir: string
  readonly dataDir: string
  readonly configPath: string
}

/** Resolves when the edge is live; whether its uplink is connected is another matter. */
export async function startEdge(options: EdgeProcessOptions = {}): Promise<EdgeProcess> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'busbar-edge-'))
  const dataDir = join(dir, 'data')
  mkdirSync(dataDir, { recursive: true })
  const gatewayId = options.gatewayId ?? 'gateway-1'
  const mqttPort = options.mqttPort ?? (await freePort())
  const healthPort = options.healthPort ?? (await freePort())
  const configPath = join(dir, 'edge.toml')
  const { uplinkPort } = options
  const base: TomlTable = {
    gateway: { id: gatewayId, dataDir },
    mqtt: { tcp: { host: '127.0.0.1', port: mqttPort } },
    // A test machine's disk may be small; a test of this limit sets its own.
    spool: { diskFreeBytesMin: 0 },
    uplink:
      uplinkPort === undefined
        ? { enabled: false }
        : { address: `127.0.0.1:${uplinkPort}`, backoffBaseMs: 50, backoffMaxMs: 500 },
    health: { port: healthPort },
    log: { format: 'json' },
  }
  const program = options.binary === undefined ? [bunPath, join(projectDir, 'edge', 'main.ts')] : [options.binary]
  const healthUrl = `http://127.0.0.1:${healthPort}`
  const server = await startServer({
    command: [...(options.wrapper ?? []), ...program, 'run', '--config'] as unknown as [string, ...string[]],
    configPath,
    config: mergeToml(base, options.config ?? {}),
    ...(options.env === undefined ? {} : { env: options.env }),
    readyUrl: `${healthUrl}/health/live`,
  })
  return Object.assign(server, { gatewayId, mqttPort, healthPort, healthUrl, dir, dataDir, configPath })
}
