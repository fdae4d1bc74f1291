import { connect as connectHttp2 } from 'node:http2'
import { connect, type Socket } from 'node:net'
import { credentials } from '@grpc/grpc-js'
import { describe, expect, onTestFinished, test } from 'vitest'
import { INGEST_SERVER_NAME } from '../../../cloud/authority/authority.ts'
import { Strangers } from '../../../cloud/ingest/strangers.ts'
import { SessionRequest } from '../../../proto/generated/busbar/edge/v1/uplink.ts'
import { newRequest } from '../../support/certificates.ts'
import { type IngestCore, ingestCore } from '../../support/ingest-core.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { EPOCH, RECEIVED_AT, rawGateway, wireBlock } from '../../support/raw-gateway.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { until } from '../../support/until.ts'

/** A connection that says nothing, or `bytes`. */
function silent(port: number, bytes?: Uint8Array): Socket {
  const socket = connect(port, '127.0.0.1', () => void (bytes && socket.write(bytes)))
  socket.on('error', () => undefined)
  socket.resume()
  onTestFinished(() => void socket.destroy())
  return socket
}

/** Enrolled, with its Hello on the way. */
async function helloOver({ trust, port }: IngestCore, gatewayId: string): Promise<ReturnType<typeof rawGateway>> {
  const { token } = await trust.enrolment.createToken({ gatewayId, siteIds: [1], createdBy: 'eve' })
  const { key, csrPem } = await newRequest()
  const { certificatePem, authorityPem } = await trust.enrolment.redeem({ token, csrPem }, 'here')
  const pems = [authorityPem, key, certificatePem].map((pem) => Buffer.from(pem)) as [Buffer, Buffer, Buffer]
  const gateway = rawGateway(port, {
    credentials: credentials.createSsl(...pems),
    channel: { 'grpc.ssl_target_name_override': INGEST_SERVER_NAME },
  })
  gateway.hello({ gatewayId })
  return gateway
}

/** A ClientHello that announces more than it brings. */
const HALF_A_HANDSHAKE = Buffer.from('16030102000100', 'hex')

describe('connections on which nobody introduces himself', () => {
  test('do not keep a gateway out, stay below their limit, and go after a while', async () => {
    const core = await ingestCore({
      dir: await tempDir(),
      secure: {},
      ingest: { strangersMax: 50, gatewaysMax: 1, helloTimeoutMs: 1_000 },
    })
    const sockets = Array.from({ length: 400 }, (_, i) => silent(core.port, i % 2 === 0 ? HALF_A_HANDSHAKE : undefined))
    await until(() => (core.ingest.stats().strangersDismissed['limit'] ?? 0) >= 350)
    expect(core.ingest.stats().strangers).toBeLessThanOrEqual(50)
    const gateway = await helloOver(core, 'gw-1')
    await until(() => sockets.every(({ destroyed }) => destroyed))
    expect(core.ingest.stats().strangers).toBe(0)
    gateway.block(wireBlock(1, ['{}']))
    await until(() => gateway.acknowledged().length === 1)
  })

  test('are not those who wait for a slow database: of many that dial at once all are let in', async () => {
    const core = await ingestCore({
      dir: await tempDir(),
      secure: {},
      ingest: { strangersMax: 2 },
    })
    const { identities } = core.trust
    const admit = identities.admit.bind(identities)
    const asked: string[] = []
    const answer = Promise.withResolvers<void>()
    identities.admit = async (dialling) => {
      asked.push(dialling.claimedId)
      await answer.promise
      return admit(dialling)
    }
    const gateways: ReturnType<typeof rawGateway>[] = []
    for (const gatewayId of ['gw-1', 'gw-2', 'gw-3', 'gw-4', 'gw-5']) {
      gateways.push(await helloOver(core, gatewayId))
      await until(() => asked.length === gateways.length)
    }
    answer.resolve()
    await until(() => core.ingest.stats().gateways === 5 && gateways.every(({ responses }) => responses.length > 0))
    expect(core.ingest.stats().strangersDismissed['limit'] ?? 0).toBe(0)
  })

  test('count as such again once the stream on them ended, and not while another is open', () => {
    const clock = new ManualClock()
    const dismissed: string[] = []
    const strangers = new Strangers({ max: 2, timeoutMs: 100, clock, onDismissed: (why) => dismissed.push(why) })
    const closing = new Map<number, () => void>()
    const socket = (remotePort: number) => ({
      remoteAddress: '::1',
      remotePort,
      destroy: () => closing.get(remotePort)?.(),
      once: (_: 'close', listener: () => void) => closing.set(remotePort, listener),
    })
    strangers.start()
    for (const port of [1, 2]) strangers.arrived(socket(port))
    strangers.introduced('::1:1')
    strangers.introduced('::1:1')
    strangers.left('::1:1')
    expect(strangers.count).toBe(1)
    strangers.left('::1:1')
    strangers.arrived(socket(3))
    // The second has been one for longest.
    expect([strangers.count, dismissed]).toEqual([2, ['limit']])
    clock.advance(200)
    expect([strangers.count, dismissed]).toEqual([0, ['limit', 'timeout', 'timeout']])
    strangers.left('::1:1')
    expect(strangers.count).toBe(0)
    strangers.stop()
  })

  test('and connections without a stream on them, go after a while in plain text too', async () => {
    const { port, ingest } = await ingestCore({ dir: await tempDir(), ingest: { helloTimeoutMs: 150 } })
    const session = connectHttp2(`http://127.0.0.1:${port}`)
    session.on('error', () => undefined)
    const socket = silent(port)
    await until(() => session.destroyed && socket.destroyed)
    expect(ingest.stats().strangersDismissed['timeout']).toBe(2)
  })
})

describe('thousands of frames that are none', () => {
  /** Bytes that are random, begin well, or are a message with some bytes changed. */
  function nonsense(random: ReturnType<typeof seededRandom>): Buffer {
    const bytes = Buffer.from(random.bytes(1 + Math.floor(random.fraction() * 200)))
    const kind = random.fraction()
    if (kind < 0.3) return bytes
    if (kind < 0.5) return Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), bytes])
    if (kind < 0.6) return Buffer.concat([HALF_A_HANDSHAKE, bytes])
    const hello = {
      gatewayId: 'gw-x',
      epoch: EPOCH,
      softwareVersion: '',
      bootId: '',
      lanes: [],
      wallClockMs: RECEIVED_AT,
    }
    const message = Buffer.from(SessionRequest.encode({ message: { $case: 'hello', value: hello } }).finish())
    for (let i = 0; i < 3; i++) message[Math.floor(random.fraction() * message.length)] = bytes[0] as number
    return message
  }

  test('on sockets and in streams leave a gateway alone, and nothing behind', async () => {
    const seed = 20_260_101
    const random = seededRandom(seed)
    const { port, ingest } = await ingestCore({
      dir: await tempDir(),
      ingest: { strangersMax: 40, helloTimeoutMs: 2_000 },
    })
    const good = rawGateway(port)
    await good.admitted()
    for (let i = 0; i < 300; i++) {
      const socket = silent(port, nonsense(random))
      for (let j = 0; j < 5; j++) socket.write(nonsense(random))
    }
    const session = connectHttp2(`http://127.0.0.1:${port}`)
    session.on('error', () => undefined)
    onTestFinished(() => session.destroy())
    const ended: Promise<void>[] = []
    for (let i = 0; i < 200; i++) {
      const stream = session.request({
        ':method': 'POST',
        ':path': '/busbar.edge.v1.UplinkService/Session',
        'content-type': 'application/grpc',
        te: 'trailers',
      })
      const { promise, resolve } = Promise.withResolvers<void>()
      stream.on('error', () => resolve())
      stream.on('close', () => resolve())
      stream.resume()
      for (let j = 0; j < 10; j++) {
        const body = nonsense(random)
        const prefix = Buffer.alloc(5)
        prefix.writeUInt32BE(body.length, 1)
        stream.write(random.fraction() < 0.8 ? Buffer.concat([prefix, body]) : body)
      }
      stream.end()
      ended.push(promise)
      if (i % 4 === 3) await Promise.race([Promise.all(ended), Bun.sleep(50)])
    }
    session.destroy()
    await until(() => ingest.stats().gateways === 1 && ingest.stats().strangers <= 40)
    good.block(wireBlock(1, ['{}']))
    await until(() => good.acknowledged().length === 1, { what: `the good gateway, seed ${seed}` })
    expect(good.ended).toBeNull()
  })
})
