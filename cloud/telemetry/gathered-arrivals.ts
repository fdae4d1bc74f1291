/** What arrived and is stored with one transaction: readings by device, latest values, statuses, and who was heard of. */

import { DAY_MS } from '../../shared/durations.ts'
import type { StatusEvent } from '../registry/device-event.ts'
import type { Arrival, ReadingArrival } from './analytics-record.ts'
import { type DeviceFields, type FieldDrops, mergeReading } from './latest-fields.ts'

export interface StoredReading {
  readonly deviceId: number
  readonly atMs: number
  readonly seq: number
  readonly fields: Readonly<Record<string, unknown>>
  /** The fields as JSON. */
  readonly text: string
}

export class GatheredArrivals {
  readonly latest = new Map<number, DeviceFields>()
  readonly statuses: StatusEvent[] = []
  /** When each device was last heard of, Unix milliseconds. */
  readonly heard = new Map<number, number>()
  /** The same of live records alone. */
  readonly heardLive = new Map<number, number>()
  /** Begins of the days that there are readings of, Unix milliseconds. */
  readonly days = new Set<number>()
  /** Readings that arrived, some perhaps twice. */
  readings = 0
  private readonly byDevice = new Map<number, StoredReading[]>()

  get isEmpty(): boolean {
    return this.readings === 0 && this.statuses.length === 0
  }

  add(arrival: Arrival, drops: FieldDrops): void {
    const { event, heard } = arrival
    if (heard.atMs !== null) noteLater(this.heard, event.deviceId, heard.atMs)
    if (heard.atMs !== null && heard.live) noteLater(this.heardLive, event.deviceId, heard.atMs)
    if (arrival.kind === 'status') this.statuses.push(arrival.event)
    else this.addReading(arrival, drops)
  }

  /**
   * By device, time and sequence, each once. One order for all cores: two that insert the same readings wait for each
   * other, and in two orders they would wait for ever.
   */
  sortedReadings(): StoredReading[] {
    const sorted: StoredReading[] = []
    for (const deviceId of [...this.byDevice.keys()].sort((a, b) => a - b)) {
      const readings = this.byDevice.get(deviceId) ?? []
      if (!isAscending(readings)) readings.sort(byTime)
      let previous: StoredReading | null = null
      for (const reading of readings) {
        if (previous === null || byTime(previous, reading) !== 0) sorted.push(reading)
        previous = reading
      }
    }
    return sorted
  }

  private addReading({ event, text }: ReadingArrival, drops: FieldDrops): void {
    const { deviceId, siteId, serialNumber, atMs, seq, receivedAtMs, fields } = event
    const reading = { deviceId, atMs, seq, fields, text }
    this.readings++
    this.days.add(Math.floor(atMs / DAY_MS) * DAY_MS)
    const readings = this.byDevice.get(deviceId)
    if (readings === undefined) this.byDevice.set(deviceId, [reading])
    else readings.push(reading)

    let latest = this.latest.get(deviceId)
    if (latest === undefined) {
      latest = { deviceId, siteId, serialNumber, fields: new Map(), eventAtMs: atMs, receivedAtMs }
      this.latest.set(deviceId, latest)
    } else if (atMs >= latest.eventAtMs) {
      latest.eventAtMs = atMs
      latest.receivedAtMs = receivedAtMs
    }
    mergeReading(latest, fields, atMs, drops)
  }
}

function byTime(a: StoredReading, b: StoredReading): number {
  return a.atMs - b.atMs || a.seq - b.seq
}

function isAscending(readings: readonly StoredReading[]): boolean {
  for (let i = 1; i < readings.length; i++) {
    if (byTime(readings[i - 1] as StoredReading, readings[i] as StoredReading) >= 0) return false
  }
  return true
}

function noteLater(times: Map<number, number>, deviceId: number, atMs: number): void {
  const known = times.get(deviceId)
  if (known === undefined || known < atMs) times.set(deviceId, atMs)
}
