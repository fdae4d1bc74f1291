/**
 * A simulated substation: solar inverters and meters whose readings follow the sun, the clouds and the working day.
 * Everything follows from the seed and from the time that is asked for, so days of data take seconds and replay.
 */

import { deviceTopic } from '../../shared/mqtt-topics.ts'
import { type Grid, gridOf } from './grid.ts'
import { inverterOf } from './inverter.ts'
import { meterOf } from './meter.ts'
import { type Weather, weatherOf } from './weather.ts'

/** One telemetry payload; `timestamp` is RFC 3339. */
export interface Reading {
  readonly timestamp: string
  readonly [field: string]: number | string
}

export interface SimulatedDevice {
  readonly serialNumber: string
  readonly kind: 'inverter' | 'meter'
  readonly telemetryTopic: string
  readonly statusTopic: string
  readonly commandTopic: string
  readonly answerTopic: string
  /**
   * The reading at `timeMs` (Unix milliseconds). Energy registers count on from the reading before, so ask in the
   * order of time.
   */
  readingAt(timeMs: number): Reading
}

export interface SubstationOptions {
  readonly seed: number
  readonly siteId: number
  readonly inverters: number
  readonly meters: number
}

/** What devices of one substation share. */
export interface Surroundings {
  readonly seed: number
  readonly weather: Weather
  readonly grid: Grid
}

/** Its devices: INV-001 …, then MTR-001 …. */
export function simulateSubstation(options: SubstationOptions): readonly SimulatedDevice[] {
  const { seed, siteId } = options
  const weather = weatherOf(seed)
  const grid = gridOf(seed)
  const build = (kind: SimulatedDevice['kind'], index: number): SimulatedDevice => {
    const serialNumber = `${kind === 'inverter' ? 'INV' : 'MTR'}-${String(index + 1).padStart(3, '0')}`
    const own = { seed: seed + 1000 * (index + 1) + (kind === 'meter' ? 500 : 0), weather, grid }
    return {
      serialNumber,
      kind,
      telemetryTopic: deviceTopic(siteId, serialNumber, 'telemetry'),
      statusTopic: deviceTopic(siteId, serialNumber, 'status'),
      commandTopic: deviceTopic(siteId, serialNumber, 'commands'),
      answerTopic: deviceTopic(siteId, serialNumber, 'responses'),
      readingAt: kind === 'inverter' ? inverterOf(own, index) : meterOf(own),
    }
  }
  return [
    ...Array.from({ length: options.inverters }, (_, index) => build('inverter', index)),
    ...Array.from({ length: options.meters }, (_, index) => build('meter', index)),
  ]
}
