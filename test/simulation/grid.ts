/** The three-phase grid that the devices of a substation are connected to. */

import { smoothNoise } from './noise.ts'

export interface Grid {
  /** Hertz. */
  frequency(timeMs: number): number
  /** Line-to-line voltage, volts, about 480. */
  lineVoltage(timeMs: number): number
  /** Phase-to-neutral voltage of phase 0, 1 or 2, volts, about 277. */
  phaseVoltage(phase: number, timeMs: number): number
}

export function gridOf(seed: number): Grid {
  const frequency = smoothNoise(seed + 11, 40_000)
  const level = smoothNoise(seed + 12, 25 * 60_000)
  const flicker = smoothNoise(seed + 13, 3_000)
  const phases = [0, 1, 2].map((phase) => smoothNoise(seed + 14 + phase, 4 * 60_000))
  const lineVoltage = (timeMs: number): number => 480 * (1 + 0.012 * level(timeMs) + 0.002 * flicker(timeMs))
  return {
    frequency: (timeMs) => 50 + 0.035 * frequency(timeMs),
    lineVoltage,
    phaseVoltage: (phase, timeMs) =>
      (lineVoltage(timeMs) / Math.sqrt(3)) * (1 + 0.006 * (phases[phase]?.(timeMs) ?? 0)),
  }
}
