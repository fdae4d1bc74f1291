/** A three-phase energy meter at a customer's connection. */

import { hashFraction, instrumentNoise, rounded, smoothNoise } from './noise.ts'
import type { Reading, Surroundings } from './substation.ts'
import { DAY_MS, HOUR_MS } from './weather.ts'

export function meterOf(surroundings: Surroundings): (timeMs: number) => Reading {
  const { seed, grid } = surroundings
  const peakKw = 25 + 70 * hashFraction(seed, 1)
  const habits = smoothNoise(seed + 2, 40 * 60_000)
  const appliances = smoothNoise(seed + 3, 90_000)
  const motors = smoothNoise(seed + 4, 6 * 60_000)
  const phases = [0, 1, 2].map((phase) => instrumentNoise(seed + 6 + phase))
  const clockError = instrumentNoise(seed + 9)
  let energyKwh = 12_000 + 180_000 * hashFraction(seed, 5)
  let lastMs: number | null = null

  return (timeMs) => {
    const share = dailyShare((timeMs % DAY_MS) / HOUR_MS)
    const powerKw = peakKw * Math.max(0.03, share * (1 + 0.22 * habits(timeMs)) + 0.06 * appliances(timeMs))
    const powerFactor = 0.955 + 0.03 * motors(timeMs)
    if (lastMs !== null) energyKwh += (powerKw * Math.max(0, timeMs - lastMs)) / HOUR_MS
    lastMs = timeMs
    const phaseVoltage = (phase: number): number =>
      rounded(grid.phaseVoltage(phase, timeMs) + 0.25 * (phases[phase]?.(timeMs) ?? 0), 1)
    return {
      timestamp: new Date(timeMs).toISOString(),
      energyKwh: rounded(energyKwh, 2),
      powerKw: rounded(powerKw, 3),
      voltageL1: phaseVoltage(0),
      voltageL2: phaseVoltage(1),
      voltageL3: phaseVoltage(2),
      current: rounded((powerKw * 1000) / (Math.sqrt(3) * grid.lineVoltage(timeMs) * powerFactor), 2),
      powerFactor: rounded(powerFactor, 3),
      frequency: rounded(grid.frequency(timeMs) + 0.003 * clockError(timeMs), 3),
    }
  }
}

/** Load of a mixed customer over the day, 0 to 1: little at night, a hump in the morning, most in the evening. */
function dailyShare(hour: number): number {
  const hump = (centre: number, width: number): number => Math.exp(-(((hour - centre) / width) ** 2))
  return 0.22 + 0.38 * hump(8, 2) + 0.3 * hump(13, 3) + 0.6 * hump(19, 2.4)
}
