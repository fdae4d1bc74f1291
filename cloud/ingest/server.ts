/**
 * The ingest: takes the gateways' streams in and republishes them onto the bus. A record is acknowledged only after it
 * is durable on the bus and its cursor in the database; what a gateway sends twice is dropped by its sequence.
 */

import { type Server, status } from '@grpc/grpc-js'
import type { CommandReceipts, Hello } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import { sleep } from '../../shared/clock.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import { randomHex } from '../../shared/random.ts'
import { aborted } from '../../shared/waiting.ts'
import { ByteBudget } from './byte-budget.ts'
import { IngestCounters, type IngestStats } from './counters.ts'
import { CreditPool } from './credit-pool.ts'
import { CursorStore } from './cursors.ts'
import { Delivery } from './delivery.ts'
import { GatewayDownlink } from './downlink.ts'
import { GatewayStream } from './gateway-stream.ts'
import { listen } from './listener.ts'
import type { IngestOptions } from './options.ts'
import { type Refusal, RefusalError, refusalOf } from './refusal.ts'
import { type ServerCall, UplinkCall } from './uplink-call.ts'
import { needsStrictOrder, settled, welcomeMessage } from './welcome.ts'

export type { IngestOptions }

const FLOOR_BYTES = 64 * 1024
/** How long a new stream waits for the work of the one that it replaces; after that some records may come twice. */
const HANDOVER_MS = 5_000
/** Time for the last statuses to reach the gateways when stopping. */
const FAREWELL_MS = 50

export class Ingest implements Part {
  readonly name = 'ingest'
  private readonly options: IngestOptions
  private readonly counters = new IngestCounters()
  private readonly credits: CreditPool
  private readonly decoded: ByteBudget
  private readonly cursors: CursorStore
  private readonly delivery: Delivery
  private readonly calls = new Set<UplinkCall>()
  /** The one call of each gateway that counts. */
  private readonly current = new Map<string, UplinkCall>()
  /** The uplink session of each call that was admitted. */
  private readonly sessions = new Map<UplinkCall, { readonly id: string; readonly downlink: GatewayDownlink }>()
  private readonly farewells = new Set<Promise<void>>()
  private starting: Promise<void> | null = null
  private stopping: Promise<void> | null = null
  private listening: { readonly server: Server; readonly port: number } | null = null

  constructor(options: IngestOptions) {
    this.options = options
    const { bus, database, registry, commands, clock, random, log } = options
    const { windowBytes = 4 * 1024 * 1024, inflightBytesMax = 64 * 1024 * 1024 } = options
    this.credits = new CreditPool({
      windowBytes,
      inflightBytesMax,
      floorBytes: FLOOR_BYTES,
    })
    this.decoded = new ByteBudget(options.decodedBytesMax ?? 64 * 1024 * 1024)
    this.cursors = new CursorStore({ database, registry, commands, clock })
    this.delivery = new Delivery({
      bus,
      cursors: this.cursors,
      registry,
      counters: this.counters,
      clock,
      random,
      log,
    })
  }

  /** @throws BusbarError INGEST_INSECURE, INGEST_TLS_INVALID, INGEST_LISTEN_FAILED */
  start(): Promise<void> {
    this.starting ??= this.open()
    return this.starting
  }

  /** Acknowledges what was taken in, then lets every gateway go; they dial again. */
  stop(deadline: AbortSignal): Promise<void> {
    this.stopping ??= this.close(deadline)
    return this.stopping
  }

  /** Port that it listens on; null before `start`. */
  get port(): number | null {
    return this.listening?.port ?? null
  }

  /** Counts since the start and sizes at this moment, without I/O. */
  stats(): IngestStats {
    return {
      ...this.counters.snapshot(),
      gateways: this.current.size,
      reservedBytes: this.credits.reservedBytes,
      decodedBytes: this.decoded.usedBytes,
    }
  }

  private async open(): Promise<void> {
    const { host, port, tls, insecure = false, keepaliveMs = 10_000, keepaliveTimeoutMs = 20_000, log } = this.options
    this.listening = await listen({
      host,
      port,
      insecure,
      keepaliveMs,
      keepaliveTimeoutMs,
      onSession: (call) => this.take(call),
      ...(tls === undefined ? {} : { tls }),
    })
    log.info({ host, port: this.listening.port, tls: tls !== undefined }, 'ingest listens')
  }

  private async close(deadline: AbortSignal): Promise<void> {
    await this.starting?.catch(() => undefined)
    const { clock } = this.options
    const refusal: Refusal = {
      code: status.UNAVAILABLE,
      details: 'the cloud is stopping',
    }
    const drained = Promise.all([...this.calls].map((call) => call.drain(refusal)))
    await Promise.race([drained, aborted(deadline)])
    for (const call of this.calls) call.end(refusal)
    // Statuses get a moment to leave; tryShutdown would wait for ever for a client that holds its stream open.
    if (!deadline.aborted) await sleep(clock, FAREWELL_MS, deadline)
    this.listening?.server.forceShutdown()
    await Promise.race([Promise.all(this.farewells), aborted(deadline)])
  }

  private take(call: ServerCall): void {
    const { clock, helloTimeoutMs = 10_000, gatewaysMax = 10_000, gateways } = this.options
    const uplinkCall = new UplinkCall({
      call,
      helloTimeoutMs,
      clock,
      admit: (hello, admitted) => this.admit(hello, call, admitted),
      onBacklog: (gatewayId, backlog) => {
        gateways.reported(gatewayId, backlog)
        gateways.seen(gatewayId)
      },
      onReceipts: (receipts, from) => this.receipted(receipts, from),
      onEnded: (ended, refusal) => this.ended(ended, refusal),
    })
    this.calls.add(uplinkCall)
    if (this.stopping !== null)
      uplinkCall.end({
        code: status.UNAVAILABLE,
        details: 'the cloud is stopping',
      })
    else if (this.calls.size > gatewaysMax) {
      uplinkCall.end({
        code: status.RESOURCE_EXHAUSTED,
        details: `ingest.gatewaysMax (${gatewaysMax}) are connected`,
      })
    }
  }

  private async admit(hello: Hello, grpcCall: ServerCall, call: UplinkCall): Promise<GatewayStream> {
    const { gatewayId, epoch, softwareVersion, bootId } = hello
    const { clock, gateways, random, log, tls } = this.options
    if (tls?.ca !== undefined) requireCommonName(grpcCall, gatewayId)
    const older = this.current.get(gatewayId)
    this.current.set(gatewayId, call)
    if (older !== undefined) {
      // A gateway that dials again has most likely lost the older connection without the cloud noticing.
      older.end({
        code: status.ABORTED,
        details: 'a newer connection of the same gateway took over',
      })
      await Promise.race([older.finished, sleep(clock, HANDOVER_MS)])
    }
    const sessionId = randomHex(random, 8)
    const clockOffsetMs = hello.wallClockMs - Math.round(clock.wallMs())
    this.requireCurrent(gatewayId, call)
    await gateways.arrived({
      gatewayId,
      sessionId,
      epoch,
      softwareVersion,
      bootId,
      clockOffsetMs,
    })
    const downlink = new GatewayDownlink(call)
    this.sessions.set(call, { id: sessionId, downlink })
    const received = settled(await this.cursors.load(gatewayId, epoch), hello)
    this.requireCurrent(gatewayId, call)
    const { registry, futureToleranceMs = 300_000 } = this.options
    const credit = this.credits.open((bytes) => call.send({ message: { $case: 'credit', value: { bytes } } }))
    const stream = new GatewayStream({
      gatewayId,
      epoch,
      received,
      credit,
      send: (response) => call.send(response),
      onDelivered: (newestWallMs) => {
        gateways.seen(gatewayId)
        if (newestWallMs > 0) gateways.delivered(gatewayId, newestWallMs)
      },
      onFailed: (error) => {
        log.error({ gatewayId, error: messageOf(error) }, 'a gateway stream failed')
        call.end(refusalOf(error))
      },
      delivery: this.delivery,
      registry,
      decoded: this.decoded,
      counters: this.counters,
      futureToleranceMs,
      clock,
      log,
    })
    stream.start()
    const strictOrder = needsStrictOrder(received)
    log.info({ gatewayId, epoch, softwareVersion, clockOffsetMs, strictOrder }, 'gateway connected')
    call.send(welcomeMessage(received, credit.available, Math.round(clock.wallMs())))
    // The Welcome is on its way, so commands may follow.
    gateways.opened(gatewayId, sessionId, downlink)
    return stream
  }

  private receipted(receipts: CommandReceipts, call: UplinkCall): void {
    const session = this.sessions.get(call)
    if (session === undefined || call.gatewayId === null) return
    const answered = session.downlink.answered(receipts)
    if (answered.stored.length + answered.refused.length === 0) return
    this.options.gateways.receipted(call.gatewayId, session.id, answered)
  }

  /** @throws RefusalError when the call ended or was replaced meanwhile. */
  private requireCurrent(gatewayId: string, call: UplinkCall): void {
    if (this.current.get(gatewayId) === call && this.calls.has(call)) return
    throw new RefusalError({
      code: status.ABORTED,
      details: 'a newer connection of the same gateway took over',
    })
  }

  private ended(call: UplinkCall, refusal: Refusal | null): void {
    const { log } = this.options
    this.calls.delete(call)
    const name = refusal === null ? 'OK' : (status[refusal.code] ?? String(refusal.code))
    this.counters.ended(name)
    const gatewayId = call.gatewayId
    if (refusal !== null) log.warn({ gatewayId, status: name, reason: refusal.details }, 'gateway stream ended')
    else log.info({ gatewayId }, 'gateway disconnected')
    if (gatewayId === null) return
    const farewell = this.sayFarewell(call, gatewayId)
    this.farewells.add(farewell)
    void farewell.finally(() => this.farewells.delete(farewell))
  }

  /** Never rejects. */
  private async sayFarewell(call: UplinkCall, gatewayId: string): Promise<void> {
    const { gateways, log } = this.options
    try {
      await call.finished
      if (this.current.get(gatewayId) === call) this.current.delete(gatewayId)
      const session = this.sessions.get(call)
      this.sessions.delete(call)
      if (session !== undefined) await gateways.left(gatewayId, session.id)
    } catch (error) {
      log.warn({ gatewayId, error: messageOf(error) }, 'a gateway that left is not noted')
    }
  }
}

function requireCommonName(call: ServerCall, gatewayId: string): void {
  const certificate = call.getAuthContext().sslPeerCertificate
  const commonName = certificate?.subject?.CN
  if (commonName === gatewayId) return
  throw new RefusalError({
    code: status.PERMISSION_DENIED,
    details: `hello.gateway_id is ${gatewayId} but the certificate is for ${String(commonName)}: use the gateway's own`,
  })
}
