/** REST and WebSocket of the core: one listener, started last and stopped first. */

import type { Server } from 'bun'
import type { Elysia } from 'elysia'
import type { Registry as MetricsRegistry } from 'prom-client'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { plainAddress } from '../../shared/network.ts'
import { type Random, systemRandom } from '../../shared/random.ts'
import { aborted } from '../../shared/waiting.ts'
import type { Activities } from '../activity/activity.ts'
import type { Approvals } from '../approvals/approvals.ts'
import type { Bus } from '../bus/bus.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Authentication } from '../identity/identity.ts'
import type { Tasks } from '../orchestration/orchestration.ts'
import type { Registry } from '../registry/registry.ts'
import { chatSocketMetrics } from './chat-metrics.ts'
import { type Arrival, arrivalOf, TrustedProxies } from './http/arrival.ts'
import { callerOfRequest, liveProtocolOf } from './http/caller.ts'
import { IdempotencyKeys } from './http/idempotency.ts'
import { checkListener, hostRule, type OriginRules } from './http/origins.ts'
import { Problem } from './http/problem.ts'
import { REQUEST_ID } from './http/request-id.ts'
import type { Route } from './http/route.ts'
import { createRouter } from './http/router.ts'
import { type ApiTls, listenerTls, namesOf } from './http/tls.ts'
import { type ApiLimits, DEFAULT_API_LIMITS } from './limits.ts'
import { type ApiMetrics, createApiMetrics } from './metrics.ts'
import { approvalRoutes } from './routes/approvals.ts'
import { type Commands, commandRoutes } from './routes/commands.ts'
import { deviceRoutes } from './routes/devices.ts'
import { documentRoutes } from './routes/documents.ts'
import { gatewayRoutes } from './routes/gateways.ts'
import { type Dependency, healthRoutes } from './routes/health.ts'
import { type LatestValues, latestRoutes } from './routes/latest.ts'
import { liveRoute, type NewSocket } from './routes/live.ts'
import { siteRoutes } from './routes/sites.ts'
import { taskRoutes } from './routes/tasks.ts'
import { bunHandlers, type SocketData } from './socket/bun-handlers.ts'
import type { ChangeFeeds } from './socket/change-feed.ts'
import type { ChatDeskStats, ChatServices } from './socket/chat/chat-desk.ts'
import { Hub } from './socket/hub.ts'

export interface ApiOptions {
  /** A loopback address; another one wants `tls` or `trustedProxies`. */
  readonly host: string
  /** 0 for any free port; see `address`. */
  readonly port: number
  /** Web origins besides its own that may change things or open a WebSocket. Default none. */
  readonly allowedOrigins?: readonly string[]
  /** Host names besides loopback ones, the public one and those of the certificate that requests may ask for. Default none. */
  readonly allowedHosts?: readonly string[]
  /** Without it there is no TLS. A function is asked when the API starts. */
  readonly tls?: ApiTls | (() => Promise<ApiTls>) | undefined
  /** Addresses and networks of the proxies that are believed about who asks; nobody else but loopback may connect then. */
  readonly trustedProxies?: readonly string[]
  /** URL under which people reach it; empty, which is the default, when it is its own address. */
  readonly publicUrl?: string
  /** Whether `authentication` takes whoever comes, so that it must be this machine alone. Default false. */
  readonly insecure?: boolean
  readonly registry: Pick<Registry, 'sites' | 'gateways' | 'devices'>
  readonly latest: LatestValues
  /** Without it there are no routes for commands. */
  readonly commands?: Commands
  /** Without it there are no routes for tasks. */
  readonly tasks?: Tasks
  /** Of commands that one person may not give alone; without it each may give all. */
  readonly approvals?: Approvals
  /** Of the services that bring their own. */
  readonly routes?: readonly Route[]
  readonly authentication: Authentication
  /** How often the callers of open WebSockets are looked at again, milliseconds. Default 5,000. */
  readonly recheckMs?: number
  /** Where it is recorded what was done; without it nothing is. */
  readonly activities?: Activities | undefined
  /** Keeps the idempotency keys. */
  readonly database: Pick<DatabaseHandle, 'kysely'>
  readonly bus: Pick<Bus, 'tail'>
  /** Of the live channels of resources; a channel without one cannot be subscribed to. */
  readonly feeds?: ChangeFeeds
  /** What the channel `chat` is served by; without it there are no conversations on the WebSocket. */
  readonly chat?: ChatServices
  /** What /health/ready tells about. */
  readonly dependencies: readonly Dependency[]
  /** What /metrics shows; the API adds its own. One registry serves one Api. */
  readonly metrics: MetricsRegistry
  readonly limits?: Partial<ApiLimits>
  /** Of this program, shown in the documents. */
  readonly version: string
  readonly clock: Clock
  readonly random?: Random
  readonly log: Logger
}

/** Where the options do not say. */
const RECHECK_MS = 5_000

export class Api implements Part {
  readonly name = 'api'
  /** Every route that is served. */
  readonly routes: readonly Route[]
  private readonly options: ApiOptions
  private readonly limits: ApiLimits
  private readonly metrics: ApiMetrics
  private readonly hub: Hub
  private readonly proxies: TrustedProxies
  private tls: ApiTls | undefined
  private app: Elysia | null = null
  private stopping: Promise<void> | null = null

  constructor(options: ApiOptions) {
    this.options = options
    this.limits = { ...DEFAULT_API_LIMITS, ...options.limits }
    const { bus, feeds = {}, chat, authentication, recheckMs = RECHECK_MS, registry, clock, log } = options
    this.metrics = createApiMetrics(options.metrics, () => this.hub.stats())
    if (chat !== undefined) chatSocketMetrics(options.metrics, () => this.hub.chatStats() as ChatDeskStats)
    this.hub = new Hub({
      ...{ bus, feeds, chat, authentication, recheckMs, clock, log, limits: this.limits, metrics: this.metrics },
      siteOfDevice: async (deviceId) => (await registry.devices.get(deviceId))?.siteId ?? null,
    })
    this.proxies = new TrustedProxies(options.trustedProxies ?? [])
    this.routes = this.declareRoutes()
  }

  /** @throws BusbarError API_NOT_LOOPBACK, API_TLS_INVALID, API_LISTEN_FAILED */
  async start(): Promise<void> {
    if (this.app !== null) return
    const { host, port, tls, insecure = false, log } = this.options
    checkListener(host, { insecure, tls: tls !== undefined, proxies: this.proxies.named })
    this.tls = typeof tls === 'function' ? await tls() : tls
    const app = this.createApp()
    try {
      app.listen(this.listenOptions(host, port))
    } catch (error) {
      throw new BusbarError(`the API cannot listen on ${host}:${port}: ${messageOf(error)}`, {
        code: 'API_LISTEN_FAILED',
        hint: 'Set api.port to a free port, or stop what uses it.',
        cause: error,
      })
    }
    this.app = app
    this.hub.start()
    log.info({ url: `${tls === undefined ? 'http' : 'https'}://${host}:${this.address().port}` }, 'API listening')
  }

  /** Sockets are told to go first: a server waits for open ones otherwise. */
  stop(deadline: AbortSignal): Promise<void> {
    this.stopping ??= this.close(deadline)
    return this.stopping
  }

  /** Where it listens. */
  address(): { readonly host: string; readonly port: number } {
    const port = this.app?.server?.port
    if (port === undefined) throw new Error('the API does not listen')
    return { host: this.options.host, port }
  }

  /** WebSocket clients and their subscriptions. */
  stats(): { readonly clients: number; readonly subscriptions: number; readonly following: boolean } {
    return this.hub.stats()
  }

  /** Conversations on WebSockets; null where there are none. */
  chatStats(): ChatDeskStats | null {
    return this.hub.chatStats()
  }

  /** Every route of the application that listens, as `METHOD path`. */
  servedRoutes(): string[] {
    return (this.app?.routes ?? []).map(({ method, path }) => `${method} ${path}`)
  }

  private async close(deadline: AbortSignal): Promise<void> {
    const app = this.app
    if (app?.server == null) return
    const server = app.server
    // No more come in while those in hand are answered.
    const answered = server.stop(false)
    await this.hub.stop()
    await Promise.race([answered, aborted(deadline)])
    await server.stop(true)
    app.server = null
  }

  private declareRoutes(): Route[] {
    const {
      registry,
      latest,
      commands,
      tasks,
      approvals,
      activities,
      routes = [],
      dependencies,
      metrics,
      clock,
      version,
    } = this.options
    const { limits } = this
    const described = [
      ...siteRoutes({ registry }),
      ...gatewayRoutes({ registry }),
      ...deviceRoutes({ registry }),
      ...latestRoutes({ registry, latest }),
      ...(commands === undefined ? [] : commandRoutes({ commands, approvals })),
      ...(tasks === undefined ? [] : taskRoutes({ tasks, approvals })),
      ...(approvals === undefined ? [] : approvalRoutes({ approvals })),
      ...routes,
      liveRoute({
        full: () => this.hub.full,
        fullFor: (caller) => this.hub.fullFor(caller),
        upgrade: (request, opened) => this.upgrade(request, opened),
        activities,
      }),
      ...healthRoutes({ dependencies, metrics, clock, version, timeoutMs: limits.healthTimeoutMs }),
    ]
    return [...described, ...documentRoutes(described, version)]
  }

  private createApp(): Elysia {
    const { authentication, database, activities, clock, random = systemRandom, log } = this.options
    const keys = new IdempotencyKeys({
      database: database.kysely,
      clock,
      keptMs: this.limits.idempotencyKeptMs,
      inFlightMaxMs: this.limits.idempotencyInFlightMaxMs,
    })
    return createRouter({
      routes: this.routes,
      context: {
        bodyBytesMax: this.limits.bodyBytesMax,
        once: (key, route, digest, work) => keys.once(key, route, digest, work),
      },
      origins: this.originRules(),
      arrivalOf: (request) => this.arrivalOf(request),
      peerOf: (request) => this.peerOf(request),
      callerOf: (request, { secure }, anonymous) => callerOfRequest(request, secure, authentication, anonymous),
      ...{ activities, clock, random, log },
      onAnswer: (method, route, status, durationMs) => {
        this.metrics.requests.inc({ method, route, status })
        this.metrics.requestSeconds.observe({ route }, durationMs / 1000)
      },
      onRefused: (code) => this.metrics.requestsRefused.inc({ code }),
    })
  }

  private originRules(): OriginRules {
    const { host, allowedOrigins = [], allowedHosts = [], insecure = false } = this.options
    const { tls } = this
    const publicUrl = URL.parse(this.options.publicUrl ?? '')?.origin ?? null
    const certifies = tls === undefined ? () => false : namesOf(tls)
    return { allowedOrigins, publicUrl, knowsHost: hostRule({ host, allowedHosts, publicUrl, insecure, certifies }) }
  }

  /** @throws Problem FORBIDDEN for one that came past the proxies. */
  private arrivalOf(request: Request): Arrival {
    const peer = this.peerOf(request)
    if (!this.proxies.admits(peer)) {
      throw new Problem('FORBIDDEN', 'The connection does not come from a proxy that is named here.', {
        code: 'PEER_REFUSED',
        hint: 'Connect through the proxy, or add the address to api.trustedProxies if it is one.',
      })
    }
    return arrivalOf(request, peer, this.tls !== undefined, this.proxies)
  }

  private peerOf(request: Request): string {
    return plainAddress(this.app?.server?.requestIP(request)?.address ?? '')
  }

  private upgrade(request: Request, { requestId, ...who }: NewSocket): boolean {
    const server = this.app?.server as Server<SocketData> | null | undefined
    const protocol = liveProtocolOf(request.headers)
    const headers = new Headers([[REQUEST_ID, requestId]])
    if (protocol !== null) headers.set('sec-websocket-protocol', protocol)
    return server?.upgrade(request, { data: { ...who, client: null }, headers }) ?? false
  }

  private listenOptions(hostname: string, port: number): Parameters<Elysia['listen']>[0] {
    const { limits, hub, tls } = this
    return {
      hostname: hostname.replace(/^\[(.*)\]$/, '$1'),
      port,
      reusePort: false,
      development: false,
      idleTimeout: limits.requestIdleSeconds,
      // Bodies are measured by the routes, which answer with a problem document.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      ...(tls === undefined ? {} : { tls: listenerTls(tls) }),
      websocket: bunHandlers(hub, limits),
    } as Parameters<Elysia['listen']>[0]
  }
}
