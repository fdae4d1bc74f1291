/** One gRPC call of a gateway, from Hello to its end. What it carries is the business of gateway-stream.ts. */

import { type ServerDuplexStream, status } from '@grpc/grpc-js'
import type {
  CommandReceipts,
  Hello,
  SessionRequest,
  SessionResponse,
} from '../../proto/generated/busbar/edge/v1/uplink.ts'
import type { Clock, Timer } from '../../shared/clock.ts'
import { checkHello, checkReceipts } from './admission.ts'
import type { GatewayStream } from './gateway-stream.ts'
import { invalidArgument, type Refusal, refusalOf } from './refusal.ts'

export type ServerCall = ServerDuplexStream<SessionRequest, SessionResponse>

/** Messages taken and not decoded yet; beyond it the call is not read, so gRPC's flow control stops the gateway. */
const GATHERED_ITEMS_MAX = 2_048

export interface UplinkCallOptions {
  readonly call: ServerCall
  readonly helloTimeoutMs: number
  readonly clock: Clock
  /** Admits the gateway; rejects when it is not. */
  readonly admit: (hello: Hello, call: UplinkCall) => Promise<GatewayStream>
  readonly onBacklog: (gatewayId: string, backlog: { records: number; bytes: number; oldestMs: number | null }) => void
  readonly onReceipts: (receipts: CommandReceipts, call: UplinkCall) => void
  readonly onCertificateRequest: (csrDer: Uint8Array, call: UplinkCall) => void
  readonly onEnded: (call: UplinkCall, refusal: Refusal | null) => void
}

type CallState =
  | { readonly name: 'awaitingHello' }
  | { readonly name: 'admitting'; readonly hello: Hello }
  | {
      readonly name: 'streaming'
      readonly hello: Hello
      readonly stream: GatewayStream
    }
  | { readonly name: 'ended' }

export class UplinkCall {
  /** Where it comes from, as `address:port`. */
  readonly peer: string
  private readonly options: UplinkCallOptions
  private state: CallState = { name: 'awaitingHello' }
  private readonly helloTimer: Timer
  private readonly settled = Promise.withResolvers<void>()
  private name: string | null = null
  private admission: Promise<GatewayStream> | null = null
  private paused = false

  constructor(options: UplinkCallOptions) {
    this.options = options
    const { call, clock, helloTimeoutMs } = options
    this.peer = call.getPeer()
    this.helloTimer = clock.after(helloTimeoutMs, () =>
      this.end({
        code: status.DEADLINE_EXCEEDED,
        details: `no Hello within ${helloTimeoutMs} ms`,
      }),
    )
    call.on('data', (request: SessionRequest) => this.take(request))
    // A dead client shows as 'end' too, so it is no sign of a clean finish, and none is needed.
    call.on('end', () => this.end(null))
    call.on('cancelled', () => this.end(null))
    call.on('error', () => this.end(null))
  }

  /** As it said in Hello; null before. */
  get gatewayId(): string | null {
    return this.name
  }

  /** Ends the call for the gateway at once. `finished` tells when the work on it is done. */
  end(refusal: Refusal | null): void {
    const { state } = this
    if (state.name === 'ended') return
    this.state = { name: 'ended' }
    this.helloTimer.cancel()
    const { call, onEnded } = this.options
    if (refusal === null) call.end()
    else call.emit('error', refusal)
    onEnded(this, refusal)
    const admission = this.admission ?? Promise.resolve(null)
    admission
      .then(
        (stream) => stream?.abort(),
        () => undefined,
      )
      .then(this.settled.resolve, this.settled.reject)
  }

  /** Resolves when nothing of this call is being published or stored any more. */
  get finished(): Promise<void> {
    return this.settled.promise
  }

  /** Acknowledges what was taken, then ends the call. */
  async drain(refusal: Refusal): Promise<void> {
    if (this.state.name === 'streaming') await this.state.stream.drain()
    this.end(refusal)
    await this.finished
  }

  send(response: SessionResponse): void {
    if (this.state.name !== 'ended') this.options.call.write(response)
    this.resumeWhenRoom()
  }

  private take({ message }: SessionRequest): void {
    const { state } = this
    if (state.name === 'awaitingHello') this.takeHello(message)
    else if (state.name === 'streaming') this.carry(state.stream, message, state.hello.gatewayId)
    else if (state.name === 'admitting') this.refuse('nothing may follow hello before the Welcome')
  }

  private takeHello(message: SessionRequest['message']): void {
    if (message?.$case !== 'hello') {
      this.refuse('the first message must be hello')
      return
    }
    const checked = checkHello(message.value)
    if (!checked.ok) {
      this.refuse(checked.problem)
      return
    }
    this.helloTimer.cancel()
    this.name = checked.value.gatewayId
    this.state = { name: 'admitting', hello: checked.value }
    this.admit(checked.value)
  }

  private carry(stream: GatewayStream, message: SessionRequest['message'], gatewayId: string): void {
    switch (message?.$case) {
      case 'block':
      case 'gap': {
        const refusal = message.$case === 'block' ? stream.acceptBlock(message.value) : stream.acceptGap(message.value)
        if (refusal !== null) this.end(refusal)
        else if (stream.gatheredItems >= GATHERED_ITEMS_MAX) this.pause()
        break
      }
      case 'backlog': {
        const { records, bytes, oldestWallClockMs } = message.value
        const oldestMs = oldestWallClockMs > 0 ? oldestWallClockMs : null
        this.options.onBacklog(gatewayId, { records, bytes, oldestMs })
        break
      }
      case 'commandReceipts': {
        const checked = checkReceipts(message.value)
        if (checked.ok) this.options.onReceipts(checked.value, this)
        else this.refuse(checked.problem)
        break
      }
      case 'certificateRequest':
        this.options.onCertificateRequest(message.value.csrDer, this)
        break
      case 'hello':
        this.refuse('hello may be sent only once')
        break
      case undefined:
        this.refuse('the message cannot be read')
        break
    }
  }

  private admit(hello: Hello): void {
    this.admission = this.options.admit(hello, this)
    this.admission.then(
      (stream) => {
        if (this.state.name === 'admitting') this.state = { name: 'streaming', hello, stream }
      },
      (error: unknown) => this.end(refusalOf(error)),
    )
  }

  private refuse(details: string): void {
    this.end(invalidArgument(details))
  }

  private pause(): void {
    this.paused = true
    this.options.call.pause()
  }

  private resumeWhenRoom(): void {
    if (!this.paused || this.state.name !== 'streaming') return
    if (this.state.stream.gatheredItems >= GATHERED_ITEMS_MAX / 2) return
    this.paused = false
    this.options.call.resume()
  }
}
