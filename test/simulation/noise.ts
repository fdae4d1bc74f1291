/**
 * Random curves over time that need no state: the value at any moment follows from the seed alone, so a simulated day
 * can be read at any speed and replays exactly.
 */

/** A smooth curve through random points, one every `periodMs`; between -1 and 1, about 0 on average. */
export function smoothNoise(seed: number, periodMs: number): (timeMs: number) => number {
  return (timeMs) => {
    const position = timeMs / periodMs
    const index = Math.floor(position)
    const t = position - index
    const eased = t * t * (3 - 2 * t)
    const from = hashFraction(seed, index)
    return (from + (hashFraction(seed, index + 1) - from) * eased) * 2 - 1
  }
}

/** What an instrument adds of its own: a new value at every moment, uniform between -1 and 1. */
export function instrumentNoise(seed: number): (timeMs: number) => number {
  return (timeMs) => hashFraction(seed, timeMs) * 2 - 1
}

/** Uniform in [0, 1), the same for the same pair. */
export function hashFraction(seed: number, index: number): number {
  let mixed = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index | 0, 0xc2b2ae35)
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x7feb352d)
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x846ca68b)
  return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32
}

/** `value` to `decimals` places, as an instrument reports it. */
export function rounded(value: number, decimals: number): number {
  const scale = 10 ** decimals
  return Math.round(value * scale) / scale
}
