/** How long something takes, counted so that Prometheus can tell quantiles from it. */

import type { HistogramReading } from '../../shared/metrics.ts'

const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] as const

export class SecondsHistogram {
  private sum = 0
  private count = 0
  private readonly within = BOUNDS.map(() => 0)

  add(seconds: number): void {
    this.sum += seconds
    this.count++
    BOUNDS.forEach((bound, i) => {
      if (seconds <= bound) this.within[i] = (this.within[i] as number) + 1
    })
  }

  read(): HistogramReading {
    const buckets = Object.fromEntries(BOUNDS.map((bound, i) => [String(bound), this.within[i] as number]))
    return { sum: this.sum, count: this.count, buckets }
  }
}
