/**
 * The ingest: takes the gateways' streams in and republishes them onto the bus. A record is acknowledged only after it
 * is durable on the bus and its cursor in the database; what a gateway sends twice is dropped by its sequence.
 */

import { status } from '@grpc/grpc-js'
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
import { Entrance } from './entrance.ts'
import { GatewayStream } from './gateway-stream.ts'
import { IdentityGuard, STOPPING } from './identity-guard.ts'
import type { IngestOptions } from './options.ts'
import { type Refusal, RefusalError, refusalOf } from './refusal.ts'
import { addressOf } from './strangers.ts'
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
  private readonly guard: IdentityGuard
  private readonly entrance: Entrance
  private readonly calls = new Set<UplinkCall>()
  /** The one call of each gateway that counts. */
  private readonly current = new Map<string, UplinkCall>()
  /** The uplink session of each call that was admitted. */
  private readonly sessions = new Map<UplinkCall, { readonly id: string; readonly downlink: GatewayDownlink }>()
  /** Calls that said Hello. */
  private readonly introduced = new Set<UplinkCall>()
  private readonly farewells = new Set<Promise<void>>()
  private starting: Promise<void> | null = null
  private stopping: Promise<void> | null = null

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
    this.guard = new IdentityGuard({ security: options.security ?? null, clock, log })
    this.entrance = new Entrance({ ...options, counters: this.counters, onSession: (call) => this.take(call) })
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
    return this.entrance.port
  }

  /** Counts since the start and sizes at this moment, without I/O. */
  stats(): IngestStats {
    return {
      ...this.counters.snapshot(),
      gateways: this.current.size,
      strangers: this.entrance.strangers.count,
      reservedBytes: this.credits.reservedBytes,
      decodedBytes: this.decoded.usedBytes,
    }
  }

  private async open(): Promise<void> {
    await this.entrance.open()
    this.guard.start()
  }

  private async close(deadline: AbortSignal): Promise<void> {
    await this.starting?.catch(() => undefined)
    const { clock } = this.options
    await Promise.race([this.guard.stop(), aborted(deadline)])
    const drained = Promise.all([...this.calls].map((call) => call.drain(STOPPING)))
    await Promise.race([drained, aborted(deadline)])
    for (const call of this.calls) call.end(STOPPING)
    // Statuses get a moment to leave; tryShutdown would wait for ever for a client that holds its stream open.
    if (!deadline.aborted) await sleep(clock, FAREWELL_MS, deadline)
    this.entrance.shut()
    await Promise.race([Promise.all(this.farewells), aborted(deadline)])
  }

  private take(call: ServerCall): void {
    const { clock, helloTimeoutMs = 10_000, gateways } = this.options
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
      onCertificateRequest: (csrDer, from) => void this.renew(csrDer, from),
      onEnded: (ended, refusal) => this.ended(ended, refusal),
    })
    this.calls.add(uplinkCall)
    if (this.stopping !== null) uplinkCall.end(STOPPING)
  }

  private async admit(hello: Hello, grpcCall: ServerCall, call: UplinkCall): Promise<GatewayStream> {
    const { gatewayId, epoch, softwareVersion, bootId } = hello
    const { clock, gateways, random, log, gatewaysMax = 10_000, security } = this.options
    this.introduce(call)
    // Before anything else: nobody ends the stream of a gateway by saying its name.
    const dialling = { certificate: certificateOf(grpcCall), claimedId: gatewayId, address: addressOf(call.peer) }
    const sites = await this.guard.admit(call, dialling)
    this.requireGoing(call)
    const older = this.current.get(gatewayId)
    if (older === undefined && this.current.size >= gatewaysMax) {
      const details = `ingest.gatewaysMax (${gatewaysMax}) are connected`
      throw new RefusalError({ code: status.RESOURCE_EXHAUSTED, details })
    }
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
      sites,
      onForeignSite: (siteId) => {
        const detail = `it sent records of site ${siteId}, for which it may not speak`
        security?.events.note({ kind: 'site-foreign', subject: gatewayId, detail, address: addressOf(call.peer) })
      },
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

  /** Those who wait to be let in are bounded too. @throws RefusalError */
  private introduce(call: UplinkCall): void {
    const { gatewaysMax = 10_000, strangersMax = 1_000 } = this.options
    if (this.introduced.size >= gatewaysMax + strangersMax) {
      throw new RefusalError({ code: status.RESOURCE_EXHAUSTED, details: 'too many gateways dial at once' })
    }
    this.introduced.add(call)
    this.entrance.strangers.introduced(call.peer)
  }

  private receipted(receipts: CommandReceipts, call: UplinkCall): void {
    const session = this.sessions.get(call)
    if (session === undefined || call.gatewayId === null) return
    const answered = session.downlink.answered(receipts)
    if (answered.stored.length + answered.refused.length === 0) return
    this.options.gateways.receipted(call.gatewayId, session.id, answered)
  }

  private async renew(csrDer: Uint8Array, call: UplinkCall): Promise<void> {
    call.send({ message: { $case: 'certificateAnswer', value: await this.guard.renew(call, csrDer) } })
  }

  /** @throws RefusalError when the call ended while it was looked at; nobody hears it. */
  private requireGoing(call: UplinkCall): void {
    if (this.calls.has(call)) return
    this.guard.left(call)
    throw new RefusalError({ code: status.CANCELLED, details: 'the call has ended' })
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
    this.guard.left(call)
    if (this.introduced.delete(call)) this.entrance.strangers.left(call.peer)
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

/** As the handshake verified it. */
function certificateOf(call: ServerCall): Uint8Array | null {
  return call.getAuthContext().sslPeerCertificate?.raw ?? null
}
