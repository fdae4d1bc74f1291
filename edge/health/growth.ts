/** How fast the spool grows, over the last minute or so, and when it would be full at that rate. */

export interface GrowthSample {
  readonly monotonicMs: number
  readonly bytes: number
}

/** Samples kept: at one every 5 seconds a window of one minute. */
const SAMPLES_MAX = 13
export const GROWTH_SAMPLE_PERIOD_MS = 5_000

export class GrowthWindow {
  private readonly samples: GrowthSample[] = []

  add(sample: GrowthSample): void {
    this.samples.push(sample)
    if (this.samples.length > SAMPLES_MAX) this.samples.shift()
  }

  /** Bytes a second between the oldest sample and `now`; null before there is a second of history. */
  bytesPerSecond(now: GrowthSample): number | null {
    const oldest = this.samples[0]
    if (oldest === undefined || now.monotonicMs - oldest.monotonicMs < 1_000) return null
    return ((now.bytes - oldest.bytes) * 1000) / (now.monotonicMs - oldest.monotonicMs)
  }
}

/** Milliseconds until `roomBytes` are used up; null when it is not growing. */
export function timeToFullMs(roomBytes: number, bytesPerSecond: number | null): number | null {
  if (bytesPerSecond === null || bytesPerSecond <= 0) return null
  return Math.max(0, (roomBytes / bytesPerSecond) * 1000)
}
