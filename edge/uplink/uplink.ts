/**
 * The uplink of a gateway: carries what the spool holds to the cloud and tells the spool what the cloud has. A thin
 * shell around the state machine of session.ts: it dials, reads, writes and keeps the one timer.
 */

import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js'
import type { Command, SessionRequest, SessionResponse } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Timer } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import { CertificateRequests, type CertifiedAnswer } from './certificate-request.ts'
import { type Channel, createChannel, whenReady } from './channel.ts'
import { callFailure, closeFailure } from './failure.ts'
import type { FeedRead } from './flow.ts'
import { rulesOf, type UplinkOptions, type UplinkTarget } from './options.ts'
import { transition } from './session.ts'
import {
  initialState,
  nextTickAt,
  type SessionEffect,
  type SessionInput,
  type SessionRules,
  type SessionState,
} from './session-state.ts'
import { UplinkStatistics, type UplinkStats } from './statistics.ts'
import { backlogMessage, certificateMessage, helloMessage, itemMessage, receiptsMessage } from './wire.ts'

type Call = ClientDuplexStream<SessionRequest, SessionResponse>

export class Uplink implements Part {
  readonly name = 'uplink'
  private readonly options: UplinkOptions
  private readonly rules: SessionRules
  private readonly statistics: UplinkStatistics
  private state: SessionState
  private readonly inputs: SessionInput[] = []
  private readonly certificates = new CertificateRequests()
  /** As dialled last. */
  private target: UplinkTarget | null = null
  private stepping = false
  private channel: Channel | null = null
  private call: Call | null = null
  private timer: { readonly at: number; readonly timer: Timer } | null = null
  private started = false
  private readonly finished = Promise.withResolvers<void>()

  constructor(options: UplinkOptions) {
    this.options = options
    this.rules = rulesOf(options)
    this.state = initialState(0)
    this.statistics = new UplinkStatistics(options.clock)
  }

  /** Begins to dial; does not wait for a connection. A certificate that cannot be used stops the uplink only, not the site. */
  start(): Promise<void> {
    if (this.started) return Promise.resolve()
    this.started = true
    this.state = initialState(this.options.clock.monotonicMs())
    this.options.spool.onAppended((lane, nextSequence) => this.input({ kind: 'appended', lane, nextSequence }))
    this.options.spool.onReplaced(() => this.input({ kind: 'spoolReplaced' }))
    this.options.credentials.onChanged(() => this.input({ kind: 'credentialsChanged' }))
    this.input({ kind: 'tick' })
    return Promise.resolve()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    if (!this.started) return
    const give = (): void => {
      const { session, patience } = this.state
      this.state = { name: 'stopped', session, patience }
      this.hangUp(true)
      this.finished.resolve()
    }
    if (deadline.aborted) give()
    else deadline.addEventListener('abort', give, { once: true })
    this.input({ kind: 'stop' })
    await this.finished.promise
    deadline.removeEventListener('abort', give)
    this.timer?.timer.cancel()
    this.timer = null
  }

  /** State at this moment, without I/O. */
  stats(): UplinkStats {
    return this.statistics.snapshot(this.state)
  }

  /**
   * Asks for the certificate that follows the one of this session.
   * @throws BusbarError CERTIFICATE_REFUSED, CERTIFICATE_UNANSWERED
   */
  requestCertificate(csrDer: Buffer): Promise<CertifiedAnswer> {
    return this.certificates.ask(() => this.input({ kind: 'certificateWanted', csrDer }))
  }

  /** Inputs are taken one after the other, though executing an effect may bring the next one at once. */
  private input(input: SessionInput): void {
    this.inputs.push(input)
    if (this.stepping) return
    this.stepping = true
    try {
      for (let next = this.inputs.shift(); next !== undefined; next = this.inputs.shift()) {
        const { state, effects } = transition(this.state, next, this.options.clock.monotonicMs(), this.rules)
        this.state = state
        this.execute(effects)
      }
    } finally {
      this.stepping = false
    }
    if (this.state.name === 'stopped') this.finished.resolve()
    else this.arm()
  }

  private execute(effects: readonly SessionEffect[]): void {
    const lastSend = effects.findLast((effect) => effect.kind === 'send')
    for (const effect of effects) {
      this.statistics.note(effect)
      switch (effect.kind) {
        case 'dial':
          this.dial(effect.patience)
          break
        case 'hello':
          this.write(helloMessage(this.identity(), effect.lanes))
          break
        case 'send':
          this.write(itemMessage(effect.item, effect.backfill), effect === lastSend)
          break
        case 'read':
          this.read(effect.session, effect)
          break
        case 'acknowledge':
          this.options.spool.acknowledge(effect.lane, effect.ranges)
          break
        case 'reportBacklog':
          this.write(backlogMessage(this.options.spool.stats().lanes))
          break
        case 'takeCommands':
          this.takeCommands(effect.session, effect.commands)
          break
        case 'cancelCommands':
          this.options.inbox?.cancel(effect.commandIds)
          break
        case 'receipts':
          this.write(receiptsMessage(effect))
          break
        case 'requestCertificate':
          this.write(certificateMessage(effect.csrDer))
          break
        case 'certificateAnswered':
          this.certificates.answered(effect.answer)
          break
        case 'certificateUnanswered':
          this.certificates.unanswered(effect.reason)
          break
        case 'close':
          this.close(effect.reason)
          break
        case 'connected':
          this.options.inbox?.learnCloudTime(effect.cloudWallMs - effect.helloAt)
          this.options.log.info({ address: this.target?.address, strictOrder: effect.strictOrder }, 'uplink connected')
          break
        case 'cloudTime':
          this.options.inbox?.confirmCloudTime(effect.cloudWallMs, effect.since)
          break
        case 'odd':
          this.options.log.debug({ oddity: effect.oddity }, 'unexpected message from the cloud')
          break
      }
    }
  }

  private dial(patience: number): void {
    const { credentials, keepaliveMs = 1_000, keepaliveTimeoutMs: timeoutMs = 1_000 } = this.options
    try {
      this.target = credentials.target()
      const channel = createChannel({ ...this.target, keepaliveMs, keepaliveTimeoutMs: timeoutMs * patience })
      this.channel = channel
      const call = channel.client.session()
      this.call = call
      const current = (): boolean => this.call === call
      call.on('data', (response: SessionResponse) => {
        if (current()) this.input({ kind: 'message', response })
      })
      // A call ends by exactly one status; 'error' repeats one that is not OK, and must have a listener.
      call.on('error', (error: ServiceError) => {
        if (current()) this.ended(this.failure(error), channel.timedOut(error))
      })
      call.on('end', () => {
        if (current())
          this.ended(new BusbarError('the cloud ended the stream', { code: 'UPLINK_ENDED', retryable: true }))
      })
      whenReady(channel.client, () => {
        if (current())
          this.input({
            kind: 'dialled',
            lanes: this.options.spool.laneState(),
          })
      })
    } catch (error) {
      this.ended(error instanceof BusbarError ? error : this.failure(error))
    }
  }

  private failure(error: unknown): BusbarError {
    return callFailure(error, { target: this.target, nowWallMs: this.options.clock.wallMs() })
  }

  private ended(error: BusbarError, timedOut = false): void {
    this.lost(error)
    this.hangUp(true)
    this.input({ kind: 'streamEnded', timedOut })
  }

  private takeCommands(session: number, commands: readonly Command[]): void {
    const { inbox, log } = this.options
    inbox?.receive(commands).then(
      ({ stored, refused }) => this.input({ kind: 'commandsTaken', session, stored, refused }),
      (error: unknown) => {
        // Said to be refused, they are handed over again; without a word they would be missing until the next session.
        log.warn({ commands: commands.length, error: messageOf(error) }, 'commands could not be taken')
        const refused = commands.map(({ commandId }) => commandId)
        this.input({ kind: 'commandsTaken', session, stored: [], refused })
      },
    )
  }

  private read(session: number, read: FeedRead): void {
    const { lane, afterSequence, throughSequence, bytesMax, feed } = read
    const limits = throughSequence === null ? { bytesMax } : { bytesMax, throughSequence }
    this.options.spool.readAfter(lane, afterSequence, limits).then(
      (items) => this.input({ kind: 'itemsRead', session, feed, items }),
      (error: unknown) => {
        this.options.log.warn({ lane, error: messageOf(error) }, 'spool could not be read, trying again')
        this.input({ kind: 'readFailed', session, feed })
      },
    )
  }

  /**
   * @param last asks for more once the transport has taken this. `write() === false` would come only after sixteen
   * messages, and over a slow link what is urgent would wait behind all of them.
   */
  private write(message: SessionRequest, last = false): void {
    const { call } = this
    if (!last) call?.write(message)
    else {
      call?.write(message, () => {
        if (this.call === call) this.input({ kind: 'writable' })
      })
    }
  }

  private close(reason: Extract<SessionEffect, { kind: 'close' }>['reason']): void {
    const orderly = reason === 'stopped' || reason === 'credentialsChanged'
    if (!orderly) this.lost(closeFailure(reason))
    else if (reason === 'credentialsChanged') this.options.log.info('uplink dials anew: there are other certificates')
    this.hangUp(!orderly)
  }

  private lost(error: BusbarError): void {
    if (this.statistics.failed(error)) {
      const { code, hint, message } = error
      this.options.log.warn({ address: this.target?.address, code, hint, error: message }, 'uplink is down')
    }
  }

  private hangUp(cancel: boolean): void {
    const { call, channel } = this
    this.call = null
    this.channel = null
    if (cancel) call?.cancel()
    else call?.end()
    // Closing the client lets a call that was ended finish.
    channel?.client.close()
  }

  private arm(): void {
    const at = nextTickAt(this.state, this.rules)
    if (at === null) return
    // A timer that fires early only finds nothing to do, which is cheaper than setting one anew at every message.
    if (this.timer !== null && this.timer.at <= at) return
    this.timer?.timer.cancel()
    const timer = this.options.clock.after(Math.max(0, at - this.options.clock.monotonicMs()), () => {
      this.timer = null
      this.input({ kind: 'tick' })
    })
    this.timer = { at, timer }
  }

  private identity(): Parameters<typeof helloMessage>[0] {
    const { gatewayId, softwareVersion, spool, clock } = this.options
    return {
      gatewayId,
      softwareVersion,
      bootId: spool.bootId,
      epoch: spool.epoch,
      wallClockMs: Math.round(clock.wallMs()),
    }
  }
}
