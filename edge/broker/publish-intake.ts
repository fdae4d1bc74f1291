/**
 * Where device messages become records. A publish is acknowledged only after its records are in the spool for good, on
 * either way in:
 *
 * - straight from the bytes received, for telemetry that nobody on site watches: no packet object, no topic string;
 * - through the MQTT engine's authorisation hook, which the engine waits for before it acknowledges.
 */

import type { BusbarError } from '../../shared/errors.ts'
import { type DeviceTopic, parseDeviceTopic } from '../../shared/mqtt-topics.ts'
import type { DeviceAddress } from './command-outlet.ts'
import type { Connection } from './connection.ts'
import type { BrokerCounters } from './counters.ts'
import type { DeviceDirectory, DeviceRecord } from './device-directory.ts'
import { parseStatus } from './device-status.ts'
import type { CommitListener, DurableLog } from './durable-log.ts'
import type { BrokerLimits } from './limits.ts'
import type { ObservedTopics } from './observed-topics.ts'
import { looksLikeBatch, splitBatch } from './telemetry-batch.ts'
import { mayPublish } from './topic-rules.ts'

/** A telemetry topic that a connection has shown it may publish on. */
export interface PublishRoute {
  readonly topic: string
  readonly topicBytes: Buffer
  readonly device: DeviceRecord
  /** Whether someone watches it, as of `observedVersion`. */
  observed: boolean
  observedVersion: number
}

export interface PublishIntakeOptions {
  readonly log: DurableLog
  readonly observed: ObservedTopics
  readonly directory: DeviceDirectory
  /** Told of every response that is to be stored. */
  readonly answered: (device: DeviceAddress, payload: Uint8Array) => void
  readonly limits: BrokerLimits
  readonly counters: BrokerCounters
}

export class PublishIntake {
  private readonly options: PublishIntakeOptions

  constructor(options: PublishIntakeOptions) {
    this.options = options
  }

  /** Takes the guard's frame, a PUBLISH of QoS 0 or 1 without retain; false leaves it to the engine. */
  takeDirect(connection: Connection, first: number): boolean {
    const { bytes, body, end } = connection.guard
    const topicStart = body + 2
    if (topicStart > end) return false
    const topicEnd = topicStart + (((bytes[body] as number) << 8) | (bytes[body + 1] as number))
    let payloadStart = topicEnd
    let packetId = 0
    if ((first & 0x02) !== 0) {
      payloadStart += 2
      if (payloadStart > end) return false
      packetId = ((bytes[topicEnd] as number) << 8) | (bytes[topicEnd + 1] as number)
      if (packetId === 0) return false
    } else if ((first & 0x08) !== 0 || payloadStart > end) {
      return false
    }
    const route = this.routeOf(connection, bytes, topicStart, topicEnd)
    if (route === null) return false
    const { observed, log, counters } = this.options
    if (route.observedVersion !== observed.version) {
      route.observed = observed.matches(route.topic)
      route.observedVersion = observed.version
    }
    if (route.observed) return false

    const payload = new Uint8Array(bytes.buffer, bytes.byteOffset + payloadStart, end - payloadStart)
    route.device.lastSeenMs = connection.lastSeenMs
    counters.publishes.telemetry++
    counters.publishesDirect++
    connection.taken()
    if (looksLikeBatch(bytes, payloadStart, end)) this.appendTelemetry(route.topic, payload, connection, packetId)
    else log.append('telemetry', route.topic, payload, connection, packetId)
    return true
  }

  /**
   * Stores a message that the engine decoded; `done` is called when it is durable, or with why it is not.
   * @param connection null for a will of an earlier run of the broker.
   */
  store(
    connection: Connection | null,
    topic: string,
    parsed: DeviceTopic,
    payload: Uint8Array,
    done: (error: BusbarError | null) => void,
  ): void {
    const { log, directory, counters, answered } = this.options
    const device = directory.meet(parsed.siteId, parsed.serialNumber)
    if (connection !== null) {
      device.lastSeenMs = connection.lastSeenMs
      this.speaksFor(connection, device)
    }
    const listener = { committed: (_token: number, error: BusbarError | null) => done(error) }
    switch (parsed.channel) {
      case 'telemetry':
        counters.publishes.telemetry++
        this.appendTelemetry(topic, payload, listener, 0)
        break
      case 'status': {
        counters.publishes.status++
        const status = parseStatus(payload)
        // The device's own words are the record, whatever they are; the cloud tells changes from repetitions.
        if (status !== null) directory.happened(device, { kind: 'reported', status })
        log.append('priority', topic, payload, listener, 0)
        break
      }
      case 'responses':
        counters.publishes.responses++
        answered(parsed, payload)
        log.append('priority', topic, payload, listener, 0)
        break
      case 'commands':
        // The rules let no client publish one.
        done(null)
        break
    }
  }

  /** One record per reading of a batch, otherwise one; `listener` hears once, after the last of them. */
  private appendTelemetry(topic: string, payload: Uint8Array, listener: CommitListener, token: number): void {
    const { log, limits } = this.options
    const batch = looksLikeBatch(payload, 0, payload.length)
    const readings = batch ? splitBatch(payload, limits.batchReadingsMax) : null
    if (readings === null) {
      log.append('telemetry', topic, payload, listener, token)
      return
    }
    const whole = new BatchCommit(readings.length, listener, token)
    for (const reading of readings) log.append('telemetry', topic, reading, whole, 0)
  }

  private routeOf(connection: Connection, bytes: Buffer, start: number, end: number): PublishRoute | null {
    const last = connection.lastRoute
    if (last !== null && sameBytes(last.topicBytes, bytes, start, end)) return last
    // A topic that is not ASCII is none of a device, so the decoding does not matter.
    const topic = bytes.toString('latin1', start, end)
    const route = connection.routes.get(topic) ?? this.makeRoute(connection, topic)
    if (route !== null) connection.lastRoute = route
    return route
  }

  private makeRoute(connection: Connection, topic: string): PublishRoute | null {
    const { directory, limits } = this.options
    if (connection.identity === null) return null
    const verdict = mayPublish(connection.identity, topic)
    if (!verdict.allowed || verdict.topic.channel !== 'telemetry') return null
    if (connection.routes.size >= limits.localTopicsMax) connection.routes.clear()
    const device = directory.meet(verdict.topic.siteId, verdict.topic.serialNumber)
    const route = { topic, topicBytes: Buffer.from(topic), device, observed: true, observedVersion: -1 }
    connection.routes.set(topic, route)
    this.speaksFor(connection, device)
    return route
  }

  /** A local client is known by what it publishes; a device of its own login is counted already. */
  private speaksFor(connection: Connection, device: DeviceRecord): void {
    const { devices } = connection
    if (connection.state !== 'open' || devices.has(device) || devices.size >= this.options.limits.localTopicsMax) return
    devices.add(device)
    device.connections++
    this.options.directory.happened(device, { kind: 'connected' })
  }
}

/** Whether a will says something of the status of `device` that the edge can read. */
export function statusOfWill(will: { topic: string; payload: Uint8Array } | null, device: DeviceRecord) {
  if (will === null) return null
  const topic = parseDeviceTopic(will.topic)
  const own = topic?.siteId === device.siteId && topic.serialNumber === device.serialNumber
  return own && topic.channel === 'status' ? parseStatus(will.payload) : null
}

/** Passes on the commit of several records as one: after the last, with the first error among them. */
class BatchCommit implements CommitListener {
  private remaining: number
  private error: BusbarError | null = null
  private readonly listener: CommitListener
  private readonly token: number

  constructor(count: number, listener: CommitListener, token: number) {
    this.remaining = count
    this.listener = listener
    this.token = token
  }

  committed(_token: number, error: BusbarError | null): void {
    this.error ??= error
    if (--this.remaining === 0) this.listener.committed(this.token, this.error)
  }
}

function sameBytes(expected: Buffer, bytes: Buffer, start: number, end: number): boolean {
  const length = end - start
  if (expected.length !== length) return false
  // Topics differ in the serial number, towards the end.
  for (let i = length - 1; i >= 0; i--) if (expected[i] !== bytes[start + i]) return false
  return true
}
