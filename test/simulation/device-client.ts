/**
 * A simulated device on the network: an MQTT client that publishes its readings with QoS 1 and counts the PUBACKs, and takes
 * commands with QoS 2, answers them and counts them.
 */

import { connect, type MqttClient } from 'mqtt'
import { systemClock as clock, type Timer } from '../../shared/clock.ts'
import {
  type BehaviourOptions,
  type CommandAnswer,
  type CommandMessage,
  type DeviceMemory,
  newMemory,
  react,
} from './command-behaviour.ts'
import type { Reading, SimulatedDevice } from './substation.ts'

/** Readings on the way to the broker, unacknowledged; at the limit the device waits. */
const IN_FLIGHT_MAX = 200
const RECONNECT_MS = 500
const CONNECT_TIMEOUT_MS = 10_000

export interface DeviceClientOptions {
  readonly device: SimulatedDevice
  readonly port: number
  readonly host?: string
  readonly username: string
  readonly password: string
  readonly onPublished: (serialNumber: string, sample: number) => void
  readonly onAcknowledged: (serialNumber: string, sample: number) => void
  /** How it takes commands; without it the device has not subscribed to any. */
  readonly behaviour?: BehaviourOptions
}

/** What became of one command at the device. */
export interface DeviceExecution {
  /** More than once is what must never happen. */
  times: number
  /** Of the last answer; null while there is none. */
  status: CommandAnswer['status'] | null
}

export class DeviceClient {
  readonly serialNumber: string
  readonly kind: SimulatedDevice['kind']
  /** By command id. */
  readonly executions = new Map<string, DeviceExecution>()
  private readonly options: DeviceClientOptions
  private client: MqttClient | null = null
  private samples = 0
  private inFlight = 0
  private memory: DeviceMemory | null = null
  private lastReading: Reading | null = null
  private readonly answers = new Set<Timer>()

  constructor(options: DeviceClientOptions) {
    this.options = options
    this.serialNumber = options.device.serialNumber
    this.kind = options.device.kind
  }

  get connected(): boolean {
    return this.client?.connected ?? false
  }

  /** Readings that the broker has not acknowledged yet. */
  get outstanding(): number {
    return this.inFlight
  }

  /** Resolves when the broker has admitted the device; rejects when it refuses. */
  async start(): Promise<void> {
    const { device, host = '127.0.0.1', port, username, password, behaviour } = this.options
    const client = connect({
      host,
      port,
      clientId: device.serialNumber,
      username,
      password,
      // The session is kept for a device that takes commands, so that none is lost with a connection.
      clean: behaviour === undefined,
      reconnectPeriod: RECONNECT_MS,
      connectTimeout: CONNECT_TIMEOUT_MS,
      will: {
        topic: device.statusTopic,
        payload: Buffer.from('{"status":"OFFLINE","reason":"connection lost"}'),
        qos: 1,
        retain: false,
      },
    })
    this.client = client
    // What waited in its session may come with the CONNACK.
    if (behaviour !== undefined) client.on('message', (_topic, payload) => this.execute(behaviour, payload))
    await new Promise<void>((resolve, reject) => {
      client.once('connect', () => resolve())
      client.once('error', reject)
    })
    client.on('error', () => undefined)
    if (behaviour !== undefined) await client.subscribeAsync(device.commandTopic, { qos: 2 })
    await client.publishAsync(device.statusTopic, '{"status":"ONLINE"}', { qos: 1 })
  }

  /** Publishes the reading of `timeMs` unless too many are on the way; false when it did not. */
  publishReading(timeMs: number): boolean {
    const { device, onPublished, onAcknowledged } = this.options
    const { client } = this
    if (client === null || !client.connected || this.inFlight >= IN_FLIGHT_MAX) return false
    const sample = ++this.samples
    this.lastReading = device.readingAt(timeMs)
    const { timestamp, ...fields } = this.lastReading
    this.inFlight++
    onPublished(device.serialNumber, sample)
    client.publish(device.telemetryTopic, JSON.stringify({ timestamp, sample, ...fields }), { qos: 1 }, (error) => {
      this.inFlight--
      if (!error) onAcknowledged(device.serialNumber, sample)
    })
    return true
  }

  /** Says goodbye, so that the broker sends no will. */
  async stop(): Promise<void> {
    for (const timer of this.answers) timer.cancel()
    this.answers.clear()
    await this.client?.endAsync()
    this.client = null
  }

  private execute(behaviour: BehaviourOptions, payload: Buffer): void {
    const { device } = this.options
    const { serialNumber, kind } = device
    const command = JSON.parse(payload.toString('utf8')) as CommandMessage
    const execution = this.executions.get(command.commandId) ?? { times: 0, status: null }
    execution.times++
    this.executions.set(command.commandId, execution)
    const timeMs = clock.wallMs()
    const { memory, answer, delayMs } = react(behaviour, this.memory ?? newMemory(behaviour, serialNumber), command, {
      serialNumber,
      kind,
      timeMs,
      // Its registers count on from reading to reading, so what was published last is what they hold.
      reading: () => this.lastReading ?? device.readingAt(timeMs),
    })
    this.memory = memory
    if (answer === null) return
    const timer = clock.after(delayMs, () => {
      this.answers.delete(timer)
      execution.status = answer.status
      this.client?.publish(device.answerTopic, JSON.stringify(answer), { qos: 1 })
    })
    this.answers.add(timer)
  }
}
