/** The devices this gateway has met: when last seen, how many connections, which status; and the facts that follow. */

import type { Clock } from '../../shared/clock.ts'
import { deviceTopic } from '../../shared/mqtt-topics.ts'
import type { BrokerCounters } from './counters.ts'
import { type DeviceStatus, type StatusEvent, transition } from './device-status.ts'
import type { DurableLog } from './durable-log.ts'

/** One device, kept by whoever has a connection of it. */
export interface DeviceRecord {
  readonly siteId: number
  readonly serialNumber: string
  /** Connections open that are, or speak for, this device. */
  connections: number
  /** Wall clock, Unix milliseconds. */
  lastSeenMs: number
  status: DeviceStatus | null
}

export interface DeviceState {
  readonly siteId: number
  readonly serialNumber: string
  readonly connected: boolean
  /** Wall clock of the last packet, Unix milliseconds. */
  readonly lastSeenMs: number
  /** Null while the edge knows nothing of it since its start. */
  readonly status: DeviceStatus | null
}

export interface DeviceDirectoryOptions {
  readonly log: DurableLog
  readonly devicesMax: number
  readonly clock: Clock
  readonly counters: BrokerCounters
}

export class DeviceDirectory {
  private readonly options: DeviceDirectoryOptions
  private readonly records = new Map<string, DeviceRecord>()

  constructor(options: DeviceDirectoryOptions) {
    this.options = options
  }

  /** The record of a device, made when it is met for the first time. */
  meet(siteId: number, serialNumber: string): DeviceRecord {
    const key = `${siteId}/${serialNumber}`
    let record = this.records.get(key)
    if (record === undefined) {
      if (this.records.size >= this.options.devicesMax) this.forgetOldest()
      record = { siteId, serialNumber, connections: 0, lastSeenMs: this.options.clock.wallMs(), status: null }
      this.records.set(key, record)
    }
    return record
  }

  /** Applies what happened, and stores the fact if there is one. */
  happened(record: DeviceRecord, event: StatusEvent): void {
    const { status, fact } = transition(record.status, event)
    record.status = status
    if (fact === null) return
    const topic = deviceTopic(record.siteId, record.serialNumber, 'status')
    const lost = (): void => {
      // Nobody will send it again, so the next event must speak for it.
      this.options.counters.statusFactsLost++
      record.status = null
    }
    const listener = { committed: (_token: number, error: unknown) => (error === null ? undefined : lost()) }
    this.options.log.append('priority', topic, Buffer.from(JSON.stringify(fact)), listener, 0)
  }

  states(): DeviceState[] {
    return Array.from(this.records.values(), ({ siteId, serialNumber, connections, lastSeenMs, status }) => {
      return { siteId, serialNumber, connected: connections > 0, lastSeenMs, status }
    })
  }

  private forgetOldest(): void {
    let oldestKey: string | null = null
    let oldestMs = Number.POSITIVE_INFINITY
    for (const [key, { connections, lastSeenMs }] of this.records) {
      if (connections > 0 || lastSeenMs >= oldestMs) continue
      oldestKey = key
      oldestMs = lastSeenMs
    }
    if (oldestKey !== null) this.records.delete(oldestKey)
  }
}
