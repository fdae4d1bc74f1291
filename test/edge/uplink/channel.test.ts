import type { ServiceError } from '@grpc/grpc-js'
import { expect, onTestFinished, test } from 'vitest'
import { createChannel, type UplinkTls } from '../../../edge/uplink/channel.ts'
import { newAuthority } from '../../support/certificates.ts'
import { ingestCore } from '../../support/ingest-core.ts'
import { startIngestProcess } from '../../support/ingest-process.ts'
import { openLink } from '../../support/link.ts'
import { tempDir } from '../../support/temp-dir.ts'

const HELLO = { gatewayId: 'gw-1', epoch: 'aa', softwareVersion: '', bootId: '', lanes: [], wallClockMs: 1 }

/** Whether a call that was admitted and then ended by `end` counts as timed out. */
async function timedOut(port: number, end: () => unknown, tls?: UplinkTls): Promise<boolean> {
  const channel = createChannel({
    address: `localhost:${port}`,
    keepaliveMs: 200,
    keepaliveTimeoutMs: 200,
    ...(tls === undefined ? {} : { tls }),
  })
  onTestFinished(() => channel.client.close())
  const call = channel.client.session()
  const error = new Promise<boolean>((resolve) => {
    call.on('error', (failure: ServiceError) => resolve(channel.timedOut(failure)))
  })
  await new Promise<void>((resolve) => {
    call.once('data', () => resolve())
    call.write({ message: { $case: 'hello', value: HELLO } })
  })
  call.resume()
  await end()
  return error
}

test.each(['plain text', 'TLS'])(
  'a connection that stands still is told from one that was closed, over %s',
  async (kind) => {
    const authority = kind === 'TLS' ? newAuthority(await tempDir()) : null
    const tls = authority === null ? undefined : { ca: authority.ca, ...authority.issue(HELLO.gatewayId) }
    const secure = authority && { server: authority.issue('localhost'), own: { certificates: authority.ca } }
    const sites = { [HELLO.gatewayId]: [1] }
    const { port, stop } = await ingestCore({
      dir: await tempDir(),
      ...(secure === null ? {} : { secure: { ...secure, sites } }),
    })
    const link = await openLink({ targetPort: port })
    expect(await timedOut(link.port, () => link.freeze(), tls)).toBe(true)
    await link.restore()
    expect(await timedOut(link.port, () => link.cut(), tls)).toBe(false)
    await link.restore()
    expect(await timedOut(link.port, stop, tls)).toBe(false)
    await link.close()
  },
)

test('a cloud that was killed closed its connections', async () => {
  const { port, child } = await startIngestProcess({ dir: await tempDir() })
  expect(await timedOut(port, () => child.kill('SIGKILL'))).toBe(false)
})
