/** A broker with a log in memory and its own directory, and clients of it. */

import { once } from 'node:events'
import { connect as connectSocket, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect, type IClientOptions, type MqttClient } from 'mqtt'
import { onTestFinished } from 'vitest'
import { Broker, type BrokerOptions } from '../../../../edge/broker/broker.ts'
import type { CommandRouteEvents } from '../../../../edge/broker/command-outlet.ts'
import { addCredential, type NewCredential } from '../../../../edge/broker/credentials.ts'
import { type Clock, systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { systemRandom } from '../../../../shared/random.ts'
import { tempDir } from '../../../support/temp-dir.ts'
import { MemoryLog } from './memory-log.ts'

export interface Login {
  readonly username: string
  readonly password: string
}

export interface Site {
  readonly dir: string
  readonly log: MemoryLog
  readonly broker: Broker
  readonly port: number
  /** Adds a login to the file of the site. */
  login(wanted: NewCredential): Login
  /** A connected mqtt.js client, ended with the test. */
  client(options?: IClientOptions): Promise<MqttClient>
  /** A raw socket to the TCP listener. */
  socket(): Promise<RawClient>
}

export type SiteOptions = Partial<Omit<BrokerOptions, 'spool' | 'clock'>> & {
  readonly dir?: string
  readonly log?: never
  readonly spool?: MemoryLog
  readonly clock?: Clock
  /** Hears of routes from the start. */
  readonly commands?: CommandRouteEvents
}

/** Starts a broker on port 0 of 127.0.0.1 that is stopped when the test ends; insecure unless told otherwise. */
export async function startSite(options: SiteOptions = {}): Promise<Site> {
  const dir = options.dir ?? (await tempDir())
  const log = options.spool ?? new MemoryLog()
  const file = join(dir, 'credentials.json')
  const broker = new Broker({
    listeners: { tcp: { host: '127.0.0.1', port: 0 } },
    insecure: true,
    credentials: { file },
    certificates: { authorityDir: join(dir, 'authority'), otherAuthorities: '', required: false },
    sessions: { dir },
    clock: systemClock,
    random: systemRandom,
    ...options,
    spool: log,
    log: silentLogger,
  })
  if (options.commands !== undefined) broker.commands.listen(options.commands)
  await broker.start()
  onTestFinished(() => stopBroker(broker))
  const port = broker.addresses().tcp?.port ?? 0
  return {
    dir,
    log,
    broker,
    port,
    login(wanted) {
      const { credential, secret } = addCredential(file, wanted, { clock: systemClock, random: systemRandom })
      return { username: credential.username, password: secret }
    },
    client: (clientOptions = {}) => mqttClient(`mqtt://127.0.0.1:${port}`, clientOptions),
    socket: () => rawClient(port),
  }
}

export async function stopBroker(broker: Broker): Promise<void> {
  const deadline = new AbortController()
  const timer = setTimeout(() => deadline.abort(), 5000)
  await broker.stop(deadline.signal)
  clearTimeout(timer)
}

/** Connects once; rejects with the CONNACK's error. */
export async function mqttClient(url: string, options: IClientOptions = {}): Promise<MqttClient> {
  const client = connect(url, { reconnectPeriod: 0, connectTimeout: 5000, ...options })
  onTestFinished(() => void client.end(true))
  await new Promise<void>((resolve, reject) => {
    client.once('connect', () => resolve())
    client.once('error', reject)
    client.once('close', () => reject(new Error('closed before CONNACK')))
  })
  client.on('error', () => undefined)
  return client
}

/** Bytes to and from the broker. */
export class RawClient {
  received = Buffer.alloc(0)
  closed = false
  readonly socket: Socket

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk])
    })
    socket.on('close', () => {
      this.closed = true
    })
    socket.on('error', () => undefined)
  }

  send(bytes: Uint8Array | readonly number[]): void {
    this.socket.write(Uint8Array.from(bytes))
  }
}

export async function rawClient(port: number): Promise<RawClient> {
  const socket = connectSocket(port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  return new RawClient(socket)
}
