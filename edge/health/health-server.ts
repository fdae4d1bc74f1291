/**
 * HTTP for those who watch the edge: `/health/live` and `/health/ready` for supervisors, `/metrics` for Prometheus,
 * `/status` for `busbar-edge status`.
 */

import type { Registry } from 'prom-client'
import type { Clock, Timer } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { GROWTH_SAMPLE_PERIOD_MS, GrowthWindow } from './growth.ts'
import { edgeMetrics } from './metrics.ts'
import { readinessOf } from './readiness.ts'
import type { HealthSources } from './sources.ts'
import { type EdgeStatus, spoolBytes, statusOf } from './status.ts'

export interface HealthServerOptions {
  readonly host: string
  /** 0 takes a free one; see `port`. */
  readonly port: number
  readonly gatewayId: string
  readonly version: string
  /** spool.bytesMax and spool.diskFreeBytesMin, for time-to-full. */
  readonly spoolBytesMax: number
  readonly diskFreeBytesMin: number
  readonly sources: HealthSources
  readonly clock: Clock
  readonly log: Logger
}

/** Largest request body that is read; no route takes one. */
const BODY_BYTES_MAX = 1024

export class HealthServer implements Part {
  readonly name = 'health'
  private readonly options: HealthServerOptions
  private readonly growth = new GrowthWindow()
  private readonly startedMs: number
  private server: Bun.Server<undefined> | null = null
  private sampler: Timer | null = null
  private metrics: Registry | null = null

  constructor(options: HealthServerOptions) {
    this.options = options
    this.startedMs = options.clock.monotonicMs()
  }

  /** The port it listens on; 0 before `start`. */
  get port(): number {
    return this.server?.port ?? 0
  }

  async start(): Promise<void> {
    if (this.server !== null) return
    const { host, port, clock, sources } = this.options
    const metrics = edgeMetrics(sources, () => this.status())
    this.metrics = metrics
    try {
      this.server = Bun.serve({
        hostname: host,
        port,
        maxRequestBodySize: BODY_BYTES_MAX,
        routes: {
          // Answering at all is what liveness means; a process that hangs does not.
          '/health/live': { GET: () => Response.json({ status: 'up' }) },
          '/health/ready': { GET: () => this.ready() },
          '/metrics': {
            GET: async () =>
              new Response(await metrics.metrics(), { headers: { 'content-type': metrics.contentType } }),
          },
          '/status': { GET: () => Response.json(this.status()) },
        },
        fetch: () =>
          Response.json({ error: 'there is /health/live, /health/ready, /metrics, /status' }, { status: 404 }),
        error: (error) => {
          this.options.log.error({ error: messageOf(error) }, 'health request failed')
          return Response.json({ error: 'internal' }, { status: 500 })
        },
      })
    } catch (cause) {
      throw new BusbarError(`cannot listen on ${host}:${port} for health: ${messageOf(cause)}`, {
        code: 'LISTEN_FAILED',
        hint: 'set health.port to a free port, or stop what holds it',
        cause,
      })
    }
    const sample = () => this.growth.add(this.sample())
    sample()
    this.sampler = clock.every(GROWTH_SAMPLE_PERIOD_MS, sample)
  }

  async stop(): Promise<void> {
    this.sampler?.cancel()
    this.sampler = null
    this.metrics?.clear()
    // Answers take no time worth waiting for, and a scraper's keep-alive connection would hold up a graceful stop.
    await this.server?.stop(true)
    this.server = null
  }

  /** What `/status` answers at this moment. */
  status(): EdgeStatus {
    const { gatewayId, version, spoolBytesMax, diskFreeBytesMin, sources, clock } = this.options
    return statusOf(sources, {
      gatewayId,
      version,
      processId: process.pid,
      uptimeMs: clock.monotonicMs() - this.startedMs,
      nowWallMs: clock.wallMs(),
      spoolBytesMax,
      diskFreeBytesMin,
      growthBytesPerSecond: this.growth.bytesPerSecond(this.sample()),
    })
  }

  private ready(): Response {
    const { ready, reasons } = readinessOf(this.options.sources)
    const { uplink, certificate } = this.options.sources
    const body = {
      status: ready ? 'up' : 'down',
      reasons,
      // For people who look here; offline or not enrolled, devices are served all the same.
      uplink: uplink === null ? 'disabled' : uplink.stats().state,
      certificate: certificate === null ? 'disabled' : certificate.status().state,
    }
    return Response.json(body, { status: ready ? 200 : 503 })
  }

  private sample() {
    return { monotonicMs: this.options.clock.monotonicMs(), bytes: spoolBytes(this.options.sources) }
  }
}
