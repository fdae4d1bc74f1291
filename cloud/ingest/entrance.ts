/** Where gateways come in: the listener, its certificate, and those that are at the door without being let in. */

import type { Clock, Timer } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { IngestCounters } from './counters.ts'
import { type IngestSecurity, isCertificateFault } from './identity-guard.ts'
import { type IngestTls, type ListenerOptions, type Listening, listen } from './listener.ts'
import type { IngestOptions } from './options.ts'
import { Strangers } from './strangers.ts'

export interface EntranceOptions
  extends Pick<IngestOptions, 'host' | 'port' | 'security' | 'strangersMax' | 'helloTimeoutMs'>,
    Pick<IngestOptions, 'keepaliveMs' | 'keepaliveTimeoutMs'> {
  readonly counters: IngestCounters
  readonly onSession: ListenerOptions['onSession']
  readonly clock: Clock
  readonly log: Logger
}

export class Entrance {
  readonly strangers: Strangers
  private readonly options: EntranceOptions
  private listening: Listening | null = null
  private shown: IngestTls | null = null
  private timer: Timer | null = null

  constructor(options: EntranceOptions) {
    this.options = options
    const { strangersMax = 1_000, helloTimeoutMs = 10_000, counters, clock } = options
    this.strangers = new Strangers({
      max: strangersMax,
      // The handshake and the Hello may each take their time: who says nothing on a stream is told so, and not cut before.
      timeoutMs: 2 * helloTimeoutMs,
      clock,
      onDismissed: (why) => counters.dismissed(why),
    })
  }

  /** Null before `open`. */
  get port(): number | null {
    return this.listening?.port ?? null
  }

  /** @throws BusbarError INGEST_INSECURE, INGEST_TLS_INVALID, INGEST_LISTEN_FAILED, and what `security.tls` throws. */
  async open(): Promise<void> {
    const {
      host,
      port,
      security,
      keepaliveMs = 10_000,
      keepaliveTimeoutMs = 20_000,
      helloTimeoutMs = 10_000,
    } = this.options
    const { clock, log, onSession } = this.options
    this.shown = security === undefined ? null : await security.tls()
    this.listening = await listen({
      host,
      port,
      handshakeTimeoutMs: helloTimeoutMs,
      keepaliveMs,
      keepaliveTimeoutMs,
      onSession,
      onConnection: (socket) => this.strangers.arrived(socket),
      onHandshakeFailed: (code, address) => this.handshakeFailed(code, address),
      ...(this.shown === null ? {} : { tls: this.shown }),
    })
    this.strangers.start()
    if (security !== undefined) this.timer = clock.every(DAY_MS, () => void this.renewTls(security))
    log.info({ host, port: this.listening.port, tls: security !== undefined }, 'ingest listens')
  }

  /** Lets go of whoever is left. */
  shut(): void {
    this.timer?.cancel()
    this.strangers.stop()
    this.listening?.server.forceShutdown()
  }

  /** Connections that stand go on under the certificate that they were made with. */
  private async renewTls(security: IngestSecurity): Promise<void> {
    const { log } = this.options
    try {
      const { cert, key, ca } = await security.tls()
      if (cert === this.shown?.cert && ca === this.shown.ca) return
      this.listening?.replaceTls({ cert, key, ca })
      this.shown = { cert, key, ca }
      log.info({}, 'the ingest has a new certificate')
    } catch (error) {
      log.error({ error: messageOf(error) }, 'the certificate of the ingest is not renewed; the one before stays')
    }
  }

  private handshakeFailed(code: string, address: string): void {
    const { counters, security } = this.options
    counters.handshakeFailed(code)
    if (!isCertificateFault(code)) return
    const detail = `a TLS handshake failed over the certificate: ${code}`
    security?.events.note({ kind: 'gateway-certificate-refused', subject: address, detail, address })
  }
}
