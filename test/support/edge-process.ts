/** The edge as a child process, from its sources or as the compiled binary. */

import { mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EdgeStatus } from '../../edge/health/status.ts'
import { sleep, systemClock } from '../../shared/clock.ts'
import { bunPath, projectDir } from './child.ts'
import { addLogins, type DeviceName, type Login } from './edge-logins.ts'
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
  /** Logins that exist when it starts. */
  readonly devices?: readonly DeviceName[]
  readonly observers?: readonly string[]
  /** Laid over the config of edge.toml. */
  readonly config?: TomlTable
  /** Path of a compiled binary; from the sources when absent. */
  readonly binary?: string
  /** Arguments of Bun when run from the sources, such as --cpu-prof. */
  readonly runtimeArguments?: readonly string[]
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
  /** Of `devices` and `observers`, and of those added since. */
  readonly logins: ReadonlyMap<string, Login>
  /** Adds a login; resolves when a running edge has seen it. */
  addDevice(siteId: number, serialNumber: string): Promise<Login>
  addObserver(username: string): Promise<Login>
  status(): Promise<EdgeStatus>
}

/** The edge looks at its credentials file no more than once in this time. */
const CREDENTIALS_SEEN_MS = 1_100

/** Resolves when the edge is live; whether its uplink is connected is another matter. */
export async function startEdge(options: EdgeProcessOptions = {}): Promise<EdgeProcess> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'busbar-edge-'))
  const dataDir = join(dir, 'data')
  mkdirSync(dataDir, { recursive: true })
  const credentialsPath = join(dataDir, 'credentials.json')
  const logins = addLogins(credentialsPath, { devices: options.devices ?? [], observers: options.observers ?? [] })
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
        : { address: `127.0.0.1:${uplinkPort}`, insecure: true, backoffBaseMs: 50, backoffMaxMs: 500 },
    health: { port: healthPort },
    log: { format: 'json' },
  }
  const source = [bunPath, ...(options.runtimeArguments ?? []), join(projectDir, 'edge', 'main.ts')]
  const program = options.binary === undefined ? source : [options.binary]
  const healthUrl = `http://127.0.0.1:${healthPort}`
  const server = await startServer({
    command: [...(options.wrapper ?? []), ...program, 'run', '--config'] as unknown as [string, ...string[]],
    configPath,
    config: mergeToml(base, options.config ?? {}),
    ...(options.env === undefined ? {} : { env: options.env }),
    readyUrl: `${healthUrl}/health/live`,
  })
  const add = async (names: Parameters<typeof addLogins>[1], username: string): Promise<Login> => {
    const login = addLogins(credentialsPath, names).get(username)
    if (login === undefined) throw new Error(`no login was made for ${username}`)
    logins.set(username, login)
    if (server.running) await sleep(systemClock, CREDENTIALS_SEEN_MS)
    return login
  }
  return Object.assign(server, {
    gatewayId,
    mqttPort,
    healthPort,
    healthUrl,
    dir,
    dataDir,
    configPath,
    logins,
    addDevice: (siteId: number, serialNumber: string) => add({ devices: [{ siteId, serialNumber }] }, serialNumber),
    addObserver: (username: string) => add({ observers: [username] }, username),
    status: () => fetchStatus(healthUrl),
  })
}

async function fetchStatus(healthUrl: string): Promise<EdgeStatus> {
  const response = await fetch(`${healthUrl}/status`, { signal: AbortSignal.timeout(5000) })
  if (!response.ok) throw new Error(`/status answered ${response.status}`)
  return (await response.json()) as EdgeStatus
}
