/** Mosquitto as a child process, persistence off: what a durable broker is held against. */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startChild } from './child.ts'
import { freePort } from './free-port.ts'
import { until } from './until.ts'

const PATHS = ['/usr/sbin/mosquitto', '/usr/bin/mosquitto', '/usr/local/sbin/mosquitto', '/opt/homebrew/sbin/mosquitto']

export interface Mosquitto {
  readonly port: number
  readonly pid: number
  stop(): Promise<void>
}

/** Null where it is not installed (`apt install mosquitto`). */
export async function startMosquitto(): Promise<Mosquitto | null> {
  const program = PATHS.find((path) => existsSync(path))
  if (program === undefined) return null
  const dir = mkdtempSync(join(tmpdir(), 'busbar-mosquitto-'))
  const port = await freePort()
  const settings = [
    `listener ${port} 127.0.0.1`,
    'allow_anonymous true',
    'persistence false',
    'max_inflight_messages 0',
    'set_tcp_nodelay true',
    'log_type error',
  ]
  const configPath = join(dir, 'mosquitto.conf')
  writeFileSync(configPath, `${settings.join('\n')}\n`)
  const child = startChild({ command: [program, '-c', configPath] })
  await until(() => child.exit !== null || accepts(port), { what: 'mosquitto accepts connections' })
  if (child.exit !== null) throw new Error(`mosquitto ended: ${child.output()}`)
  return {
    port,
    pid: child.pid,
    async stop() {
      await child.kill('SIGTERM')
      rmSync(dir, { recursive: true, force: true })
    },
  }
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
