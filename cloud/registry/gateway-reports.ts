/**
 * What is heard of gateways every few seconds, written once every `periodMs` for all of them together. Losing the last
 * report in a crash costs nothing: the next one says it anew.
 */

import type { Clock, Timer } from '../../shared/clock.ts'
import { ComplaintLimit } from '../../shared/complaint-limit.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { GatewayBacklog, GatewayReport, GatewayStore } from './gateway-store.ts'

export class GatewayReports {
  private readonly store: GatewayStore
  private readonly clock: Clock
  private readonly log: Logger
  private readonly periodMs: number
  /** One entry a gateway, so its size is bounded by theirs. */
  private pending = new Map<string, GatewayReport>()
  private timer: Timer | null = null
  private writing: Promise<void> | null = null
  private readonly complaints: ComplaintLimit

  constructor(options: { store: GatewayStore; clock: Clock; log: Logger; periodMs: number }) {
    this.complaints = new ComplaintLimit(options.clock)
    this.store = options.store
    this.clock = options.clock
    this.log = options.log
    this.periodMs = options.periodMs
  }

  start(): void {
    this.timer ??= this.clock.every(this.periodMs, () => void this.flush())
  }

  /** Writes what is pending, once. */
  async stop(): Promise<void> {
    this.timer?.cancel()
    this.timer = null
    await this.writing
    await this.flush()
  }

  note(gatewayId: string, backlog: GatewayBacklog | null): void {
    const known = this.pending.get(gatewayId)?.backlog ?? null
    this.pending.set(gatewayId, { gatewayId, seenAtMs: this.clock.wallMs(), backlog: backlog ?? known })
  }

  /** Never rejects: what could not be written waits for the next period. */
  flush(): Promise<void> {
    this.writing ??= this.write().finally(() => {
      this.writing = null
    })
    return this.writing
  }

  private async write(): Promise<void> {
    const reports = this.pending
    if (reports.size === 0) return
    this.pending = new Map()
    try {
      await this.store.writeReports([...reports.values()])
    } catch (error) {
      for (const [gatewayId, { backlog, ...report }] of reports) {
        const later = this.pending.get(gatewayId)
        this.pending.set(
          gatewayId,
          later === undefined ? { ...report, backlog } : { ...later, backlog: later.backlog ?? backlog },
        )
      }
      if (!this.complaints.isDue()) return
      this.log.warn(
        { error: messageOf(error), gateways: reports.size },
        'gateway reports are not written; trying again',
      )
    }
  }
}
