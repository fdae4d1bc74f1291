/**
 * What an edge and a cloud have in common as child processes: a config file, a data directory and ports that stay the
 * same over restarts, readiness, and logs that are shown when something goes wrong.
 */

import { writeFileSync } from 'node:fs'
import { type Child, type ChildExit, startChild } from './child.ts'
import { type TomlTable, toToml } from './toml.ts'
import { until } from './until.ts'

const READY_TIMEOUT_MS = 30_000

export interface ServerOptions {
  /** The program with its leading arguments; the config file's path is appended. */
  readonly command: readonly [string, ...string[]]
  readonly configPath: string
  readonly config: TomlTable
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Ready when this answers with a success; polled. */
  readonly readyUrl: string
}

export interface ServerProcess {
  readonly pid: number
  readonly running: boolean
  /** Everything it wrote, over all restarts. */
  logs(): string
  /** Sends a signal; resolves when the process has exited, or at once for SIGSTOP and SIGCONT. */
  kill(signal: NodeJS.Signals): Promise<ChildExit | null>
  /** Starts it again after it has ended, with the same config; resolves when it is ready. */
  restart(): Promise<void>
  /** SIGTERM; does nothing when it is not running. Resolves with how it ended. */
  stop(): Promise<ChildExit | null>
}

/** Resolves when the process is ready; rejects with its output when it ends before or takes too long. */
export async function startServer(options: ServerOptions): Promise<ServerProcess> {
  let earlier = ''
  // It may hold passwords, and is refused where others could read those.
  writeFileSync(options.configPath, toToml(options.config), { mode: 0o600 })
  let child = await launch(options)
  return {
    get pid() {
      return child.pid
    },
    get running() {
      return child.exit === null
    },
    logs: () => earlier + child.output(),
    kill: (signal) => child.kill(signal),
    async restart() {
      if (child.exit === null) throw new Error('it is still running')
      earlier += child.output()
      child = await launch(options)
    },
    async stop() {
      return child.exit ?? child.kill('SIGTERM')
    },
  }
}

async function launch(options: ServerOptions): Promise<Child> {
  const child = startChild({
    command: [...options.command, options.configPath],
    ...(options.env === undefined ? {} : { env: options.env }),
  })
  try {
    await until(() => child.exit !== null || answers(options.readyUrl), {
      timeoutMs: READY_TIMEOUT_MS,
      what: `${options.readyUrl} answers`,
    })
    if (child.exit !== null) throw new Error(`it ended with ${child.exit.code ?? child.exit.signal}`)
    return child
  } catch (error) {
    await child.kill('SIGKILL')
    throw new Error(`${options.command.join(' ')}: ${error}\n${child.output()}`)
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    // Whether it answers is all that is asked here, not who it is.
    const response = await fetch(url, { signal: AbortSignal.timeout(2000), tls: { rejectUnauthorized: false } })
    await response.body?.cancel()
    return response.ok
  } catch {
    return false
  }
}
