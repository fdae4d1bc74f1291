/** The sun, the clouds and the air over a substation. */

import { smoothNoise } from './noise.ts'

export const HOUR_MS = 3_600_000
export const DAY_MS = 24 * HOUR_MS

export interface Weather {
  /** Sunlight on a panel, 0 (night) to 1 (clear noon in summer). `lagMs` lets a cloud reach each inverter in its turn. */
  irradiance(timeMs: number, lagMs: number): number
  /** Air temperature, °C. */
  ambientCelsius(timeMs: number): number
}

/** Weather at 50° north, midday at 12:00 UTC. */
export function weatherOf(seed: number): Weather {
  const fronts = smoothNoise(seed + 1, 7 * HOUR_MS)
  const clouds = smoothNoise(seed + 2, 9 * 60_000)
  const wisps = smoothNoise(seed + 3, 70_000)
  const warmth = smoothNoise(seed + 4, 31 * HOUR_MS)
  return {
    irradiance(timeMs, lagMs) {
      const height = sunHeight(timeMs)
      if (height <= 0) return 0
      const at = timeMs - lagMs
      // A front decides how much of the sky is covered; single clouds pass under it.
      const cover = 0.45 + 0.45 * fronts(at)
      const shade = Math.min(1, Math.max(0, cover + 0.5 * clouds(at) + 0.12 * wisps(at)))
      return height ** 1.15 * (1 - 0.82 * shade)
    },
    ambientCelsius(timeMs) {
      const season = -Math.cos((2 * Math.PI * (dayOfYear(timeMs) - 15)) / 365)
      // The warmest hour comes about three hours after the highest sun.
      const daily = -Math.cos((2 * Math.PI * (hourOfDay(timeMs) - 3)) / 24)
      return 10.5 + 9 * season + 5 * daily + 3 * warmth(timeMs)
    },
  }
}

/** Sine of the sun's elevation; below 0 at night. */
export function sunHeight(timeMs: number): number {
  const latitude = (50 * Math.PI) / 180
  const declination = ((-23.44 * Math.PI) / 180) * Math.cos((2 * Math.PI * (dayOfYear(timeMs) + 10)) / 365)
  const hourAngle = ((hourOfDay(timeMs) - 12) / 24) * 2 * Math.PI
  return Math.sin(latitude) * Math.sin(declination) + Math.cos(latitude) * Math.cos(declination) * Math.cos(hourAngle)
}

function hourOfDay(timeMs: number): number {
  return (timeMs % DAY_MS) / HOUR_MS
}

function dayOfYear(timeMs: number): number {
  return (timeMs / DAY_MS) % 365.2425
}
