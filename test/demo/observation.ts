/** What the demo sees of the running processes, asked from outside as any operator would. */

import { systemClock as clock } from '../../shared/clock.ts'
import type { Stage } from './stage.ts'
import type { Tally } from './tally.ts'
import type { DemoFacts } from './view.ts'

/** Rates are over about this long. */
const RATE_WINDOW_MS = 2_000

interface Sample {
  readonly atMs: number
  readonly published: number
  readonly arrived: number
}

export class Observation {
  private readonly stage: Stage
  private readonly tally: Tally
  private readonly beganMs = clock.monotonicMs()
  private samples: Sample[] = []
  private spoolPeak = 0

  constructor(stage: Stage, tally: Tally) {
    this.stage = stage
    this.tally = tally
  }

  async facts(act: string): Promise<DemoFacts> {
    const { edge, cloud, link, clients, playback } = this.stage
    const [status, arrived] = await Promise.all([edge.status(), consumedReadings(cloud.apiUrl)])
    const { published, acknowledged } = this.tally.counts()
    const now = clock.monotonicMs()
    const { lanes, bytes } = status.spool
    const spoolRecords = lanes.telemetry.records
    this.spoolPeak = Math.max(this.spoolPeak, spoolRecords)
    this.samples = [
      ...this.samples.filter((sample) => sample.atMs > now - RATE_WINDOW_MS),
      { atMs: now, published, arrived },
    ]
    const oldest = this.samples[0] ?? { atMs: now, published, arrived }
    const seconds = Math.max(0.001, (now - oldest.atMs) / 1000)
    return {
      elapsedS: (now - this.beganMs) / 1000,
      act,
      simulatedMs: playback.nowMs,
      devices: clients.filter((client) => client.connected).length,
      published,
      publishedPerSecond: (published - oldest.published) / seconds,
      acknowledged,
      spoolRecords,
      spoolBytes: bytes,
      spoolPeak: this.spoolPeak,
      uplink: link.state === 'cut' ? 'cut' : status.uplink?.connected ? 'connected' : 'connecting',
      arrived,
      arrivedPerSecond: (arrived - oldest.arrived) / seconds,
    }
  }
}

/** Readings that the consumer at the end of the way says it has written to the database. */
async function consumedReadings(apiUrl: string): Promise<number> {
  const response = await fetch(`${apiUrl}/metrics`, { signal: AbortSignal.timeout(5000) })
  const text = await response.text()
  return Number(/^busbar_analytics_records_total(?:\{[^}]*\})? (\d+)/m.exec(text)?.[1] ?? 0)
}
