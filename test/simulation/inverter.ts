/** A three-phase solar inverter. */

import { hashFraction, instrumentNoise, rounded, smoothNoise } from './noise.ts'
import type { Reading, Surroundings } from './substation.ts'
import { DAY_MS, HOUR_MS } from './weather.ts'

/** A cloud takes this long from one inverter to the next. */
const CLOUD_STEP_MS = 12_000

/** `position` is its place in the row of panels. */
export function inverterOf(surroundings: Surroundings, position: number): (timeMs: number) => Reading {
  const { seed, weather, grid } = surroundings
  const ratedKw = 80 + 40 * hashFraction(seed, 1)
  const soiling = 0.94 + 0.05 * hashFraction(seed, 2)
  const flutter = smoothNoise(seed + 3, 5_000)
  const sensor = instrumentNoise(seed + 4)
  const clockError = instrumentNoise(seed + 5)
  let lastMs: number | null = null
  let energyTodayKwh = 0
  let coreCelsius: number | null = null

  return (timeMs) => {
    const sun = weather.irradiance(timeMs, position * CLOUD_STEP_MS)
    const dcKw = ratedKw * soiling * sun * (1 + 0.01 * flutter(timeMs))
    const running = dcKw > 0.004 * ratedKw
    const load = dcKw / ratedKw
    // Efficiency is poor at low load, best at about half load, and falls a little towards full load.
    const efficiency = running ? 98.7 - 0.35 / (load + 0.03) - 0.9 * load ** 2 + 0.05 * sensor(timeMs) : 0
    const powerKw = running ? (dcKw * efficiency) / 100 : 0
    const voltage = grid.lineVoltage(timeMs) + 2.5 * load + 0.4 * sensor(timeMs)
    const ambient = weather.ambientCelsius(timeMs)
    const settled = ambient + 4 + 31 * load
    const elapsedMs = lastMs === null ? 0 : Math.max(0, timeMs - lastMs)
    // The heat sink follows its load with a time constant of a quarter of an hour.
    coreCelsius =
      coreCelsius === null ? settled : settled + (coreCelsius - settled) * Math.exp(-elapsedMs / (HOUR_MS / 4))
    if (lastMs !== null && Math.floor(timeMs / DAY_MS) !== Math.floor(lastMs / DAY_MS)) energyTodayKwh = 0
    energyTodayKwh += (powerKw * elapsedMs) / HOUR_MS
    lastMs = timeMs
    return {
      timestamp: new Date(timeMs).toISOString(),
      powerKw: rounded(powerKw, 2),
      voltage: rounded(voltage, 1),
      current: rounded((powerKw * 1000) / (Math.sqrt(3) * voltage), 2),
      temperature: rounded(coreCelsius + 0.15 * sensor(timeMs), 1),
      efficiency: rounded(efficiency, 2),
      frequency: rounded(grid.frequency(timeMs) + 0.003 * clockError(timeMs), 3),
      dcVoltage: rounded(running ? 700 + 90 * load ** 0.4 + 3 * flutter(timeMs) : 12 * sun, 1),
      energyTodayKwh: rounded(energyTodayKwh, 2),
      state: running ? 'RUNNING' : 'STANDBY',
    }
  }
}
