/** A simulated device on the network: an MQTT client that publishes its readings with QoS 1 and counts the PUBACKs. */

import { connect, type MqttClient } from 'mqtt'
import type { SimulatedDevice } from './substation.ts'

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
}

export class DeviceClient {
  readonly serialNumber: string
  private readonly options: DeviceClientOptions
  private client: MqttClient | null = null
  private samples = 0
  private inFlight = 0

  constructor(options: DeviceClientOptions) {
    this.options = options
    this.serialNumber = options.device.serialNumber
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
    const { device, host = '127.0.0.1', port, username, password } = this.options
    const client = connect({
      host,
      port,
      clientId: device.serialNumber,
      username,
      password,
      clean: true,
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
    await new Promise<void>((resolve, reject) => {
      client.once('connect', () => resolve())
      client.once('error', reject)
    })
    client.on('error', () => undefined)
    await client.publishAsync(device.statusTopic, '{"status":"ONLINE"}', { qos: 1 })
  }

  /** Publishes the reading of `timeMs` unless too many are on the way; false when it did not. */
  publishReading(timeMs: number): boolean {
    const { device, onPublished, onAcknowledged } = this.options
    const { client } = this
    if (client === null || !client.connected || this.inFlight >= IN_FLIGHT_MAX) return false
    const sample = ++this.samples
    const { timestamp, ...fields } = device.readingAt(timeMs)
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
    await this.client?.endAsync()
    this.client = null
  }
}
