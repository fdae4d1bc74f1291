/** What arrived at the end of the way, held against what the devices know to be acknowledged. */

import { expect } from 'vitest'
import type { JournalDevice } from './journal-device.ts'

export interface ArrivedReading {
  readonly serialNumber: string
  /** The reading's own number. */
  readonly n: number
  readonly gateway: string
  readonly seq: string
  readonly backfill: boolean
}

export interface Arrival {
  readonly records: number
  /** Records whose (gateway, seq) had arrived before: sent again by a stage that was not acknowledged. */
  readonly redelivered: number
}

/**
 * Asserts that every acknowledged reading arrived, that no key stands for two readings, and that per device the
 * order holds within live and within backfill after duplicates are dropped by key.
 */
export function expectArrived(devices: readonly JournalDevice[], arrived: readonly ArrivedReading[]): Arrival {
  const byKey = new Map<string, ArrivedReading>()
  let redelivered = 0
  for (const reading of arrived) {
    const key = `${reading.gateway} ${reading.seq}`
    const before = byKey.get(key)
    if (before === undefined) byKey.set(key, reading)
    else {
      redelivered++
      expect({ key, serialNumber: reading.serialNumber, n: reading.n }).toEqual({
        key,
        serialNumber: before.serialNumber,
        n: before.n,
      })
    }
  }
  for (const device of devices) expectDevice(device, [...byKey.values()])
  return { records: byKey.size, redelivered }
}

function expectDevice(device: JournalDevice, readings: readonly ArrivedReading[]): void {
  const own = readings.filter((reading) => reading.serialNumber === device.serialNumber)
  const numbers = new Set(own.map((reading) => reading.n))
  const lost: number[] = []
  for (let n = 0; n < device.acknowledged; n++) if (!numbers.has(n)) lost.push(n)
  expect({ device: device.serialNumber, lost }).toEqual({ device: device.serialNumber, lost: [] })
  for (const backfill of [false, true]) {
    const sequences = own.filter((reading) => reading.backfill === backfill).map((reading) => Number(reading.seq))
    const outOfOrder = sequences.filter((sequence, i) => i > 0 && sequence <= (sequences[i - 1] as number))
    expect({ device: device.serialNumber, backfill, outOfOrder }).toEqual({
      device: device.serialNumber,
      backfill,
      outOfOrder: [],
    })
  }
}
