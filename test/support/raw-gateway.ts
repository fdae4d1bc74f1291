/** A gateway without manners: sends whatever message a test wants. */

import { type ChannelCredentials, type ChannelOptions, credentials, type ServiceError } from '@grpc/grpc-js'
import { onTestFinished } from 'vitest'
import {
  type Block,
  Encoding,
  type Hello,
  Lane,
  type SessionRequest,
  type SessionResponse,
  UplinkServiceClient,
} from '../../proto/generated/busbar/edge/v1/uplink.ts'
import { BlockBuilder, checksum } from '../../shared/block.ts'
import { until } from './until.ts'

export const RECEIVED_AT = Date.UTC(2026, 0, 2, 3, 4, 5)
export const EPOCH = '00112233445566aa'

export interface RawGateway {
  readonly responses: SessionResponse[]
  /** How the call ended; null while it lasts. */
  readonly ended: ServiceError | 'clean' | null
  send(message: SessionRequest['message']): void
  hello(changes?: Partial<Hello>): void
  /** Says Hello and waits for the Welcome. */
  admitted(changes?: Partial<Hello>): Promise<void>
  block(block: Block): void
  /** Ranges that were acknowledged so far, as [first, last]. */
  acknowledged(): [number, number][]
  close(): void
}

export function rawGateway(
  port: number,
  options: { credentials?: ChannelCredentials; channel?: ChannelOptions } = {},
): RawGateway {
  const client = new UplinkServiceClient(`localhost:${port}`, options.credentials ?? credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
    ...options.channel,
  })
  const call = client.session()
  const responses: SessionResponse[] = []
  let ended: RawGateway['ended'] = null
  call.on('data', (response: SessionResponse) => responses.push(response))
  call.on('error', (error: ServiceError) => {
    ended = error
  })
  call.on('end', () => {
    ended ??= 'clean'
  })
  const close = (): void => {
    call.cancel()
    client.close()
  }
  onTestFinished(close)
  const gateway: RawGateway = {
    responses,
    get ended() {
      return ended
    },
    send: (message) => void call.write({ message }),
    hello(changes = {}) {
      const value: Hello = {
        gatewayId: 'gw-1',
        epoch: EPOCH,
        softwareVersion: 'test',
        bootId: 'boot',
        lanes: [],
        wallClockMs: RECEIVED_AT,
        ...changes,
      }
      gateway.send({ $case: 'hello', value })
    },
    async admitted(changes) {
      gateway.hello(changes)
      await until(() => responses.length > 0 || ended !== null, {
        what: 'an answer to Hello',
      })
      if (responses[0]?.message?.$case !== 'welcome') throw new Error(`not admitted: ${String(ended)}`)
    },
    block: (value) => gateway.send({ $case: 'block', value }),
    acknowledged: () =>
      responses.flatMap(({ message }) =>
        message?.$case === 'ack' ? message.value.ranges.map(({ first, last }): [number, number] => [first, last]) : [],
      ),
    close,
  }
  return gateway
}

/** A block of readings of one device. */
export function wireBlock(
  firstSequence: number,
  payloads: readonly string[],
  changes: Partial<Block> & { topic?: string } = {},
  encoding: 'identity' | 'zstd' = 'identity',
  replacedData?: Buffer,
): Block {
  const { topic = 'sites/1/devices/INV-001/telemetry', ...fields } = changes
  const builder = new BlockBuilder(1024)
  for (const payload of payloads) builder.add(topic, 0, Buffer.from(payload))
  const body = Buffer.from(builder.finish())
  const data = replacedData ?? (encoding === 'zstd' ? Bun.zstdCompressSync(body) : body)
  return {
    lane: Lane.TELEMETRY,
    firstSequence,
    recordCount: payloads.length,
    encoding: encoding === 'zstd' ? Encoding.ZSTD : Encoding.IDENTITY,
    crc32c: checksum(data),
    bodyBytes: body.length,
    data,
    wallClockMs: RECEIVED_AT,
    bootId: 'boot',
    monotonicMs: 0,
    backfill: false,
    ...fields,
  }
}
