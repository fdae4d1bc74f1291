import { describe, expect, test } from 'vitest'
import type { GatewayReceipts, OpenSession } from '../../../cloud/gateways/gateways.ts'
import type { UplinkInbox } from '../../../edge/uplink/options.ts'
import { systemClock } from '../../../shared/clock.ts'
import { ingestCore } from '../../support/ingest-core.ts'
import { openLink } from '../../support/link.ts'
import { plainCommand } from '../../support/simulated-commands.ts'
import { openSlowLink } from '../../support/slow-link.ts'
import { append, appendEach, newSpool, noise, numbered, startSpool, stopSpool } from '../../support/spool.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'
import { startUplink, stopUplink } from '../../support/uplink-under-test.ts'

const TELEMETRY = 'device-telemetry'

function readings(values: readonly Record<string, unknown>[]): number[] {
  return values.map((value) => (value['telemetryData'] as { n: number }).n)
}

describe('from the spool to the bus', () => {
  test('a stored reading arrives as the contract says, and leaves the spool', async () => {
    const core = await ingestCore({ dir: await tempDir() })
    const spool = await startSpool(await tempDir())
    const uplink = await startUplink(spool, core.port)
    await until(() => uplink.stats().connected)
    await append(spool, ['{"powerKw": 45.2}'])
    const reader = await readTopics(core.bus, [TELEMETRY])
    await until(() => reader.records.length === 1)
    const [record] = reader.records
    const { deviceId, timestamp, ...value } = reader.values(TELEMETRY)[0] ?? {}
    expect(value).toEqual({
      serialNumber: 'INV-001',
      siteId: 1,
      deviceType: 'SOLAR_INVERTER',
      telemetryData: { powerKw: 45.2 },
      eventType: 'DEVICE_TELEMETRY',
    })
    expect(deviceId).toBeTypeOf('number')
    expect(timestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect(record?.key).toBe('INV-001')
    expect(Object.keys(record?.headers ?? {}).toSorted()).toEqual(['epoch', 'gateway', 'receivedAt', 'seq'])
    expect(record?.headers['receivedAt']).toBe(timestamp)
    await until(() => spool.stats().lanes.telemetry.records === 0)
  })

  test('what was stored before the connection is marked as backfill and keeps its order', async () => {
    const core = await ingestCore({ dir: await tempDir() })
    const spool = await startSpool(await tempDir())
    await appendEach(spool, numbered(50))
    await startUplink(spool, core.port)
    const reader = await readTopics(core.bus, [TELEMETRY])
    await until(() => reader.records.length === 50)
    expect(readings(reader.values(TELEMETRY))).toEqual(Array.from({ length: 50 }, (_, i) => i))
    expect(reader.records.every(({ headers }) => headers['backfill'] === 'true')).toBe(true)
  })
})

describe('commands', () => {
  /** A core, and a gateway whose inbox answers as `receive` does. */
  async function withInbox(receive: (ids: readonly string[]) => ReturnType<UplinkInbox['receive']>) {
    const core = await ingestCore({ dir: await tempDir() })
    const sessions: OpenSession[] = []
    const receipts: GatewayReceipts[] = []
    core.gateways.listen({
      opened: (session) => sessions.push(session),
      receipted: (_gatewayId, _sessionId, each) => receipts.push(each),
    })
    const received: string[] = []
    const cancelled: string[] = []
    const offsets: number[] = []
    const confirmed: number[] = []
    const inbox: UplinkInbox = {
      receive: (commands) => {
        const ids = commands.map(({ commandId }) => commandId)
        received.push(...ids)
        return receive(ids)
      },
      cancel: (ids) => void cancelled.push(...ids),
      learnCloudTime: (offsetMs) => void offsets.push(offsetMs),
      confirmCloudTime: (wallMs, sinceMs) => void confirmed.push(wallMs - sinceMs),
    }
    const spool = await startSpool(await tempDir())
    const uplink = await startUplink(spool, core.port, { inbox })
    await until(() => sessions.length === 1)
    const downlink = () => sessions.at(-1)?.downlink as OpenSession['downlink']
    return { core, spool, uplink, sessions, receipts, received, cancelled, offsets, confirmed, downlink }
  }

  test('reach the inbox, and what it answers reaches the cloud', async () => {
    const { downlink, received, receipts, cancelled, offsets } = await withInbox(async ([first = '', ...others]) => ({
      stored: others,
      refused: [first],
    }))
    downlink().sendCommands(['a', 'b', 'c'].map(plainCommand))
    downlink().cancelCommands(['b'])
    await until(() => receipts.length === 1 && cancelled.length === 1)
    expect(received).toEqual(['a', 'b', 'c'])
    expect(receipts).toEqual([{ stored: ['b', 'c'], refused: ['a'] }])
    const [offsetMs = 0] = offsets
    const trueOffsetMs = systemClock.wallMs() - systemClock.monotonicMs()
    expect(offsetMs).toBeGreaterThan(trueOffsetMs - 2)
    expect(offsetMs).toBeLessThan(trueOffsetMs + 5_000)
  })

  test('are judged by a time of the cloud that each acknowledgement tells anew', async () => {
    const { spool, confirmed } = await withInbox(async () => ({ stored: [], refused: [] }))
    expect(confirmed).toEqual([])
    await append(spool, ['{"powerKw": 45.2}'])
    await until(() => confirmed.length > 0)
    const trueOffsetMs = systemClock.wallMs() - systemClock.monotonicMs()
    expect(confirmed[0]).toBeGreaterThan(trueOffsetMs - 2)
    expect(confirmed[0]).toBeLessThan(trueOffsetMs + 5_000)
  })

  test('that the inbox fails to take are refused, so that they are handed over again', async () => {
    const { downlink, receipts } = await withInbox(() => Promise.reject(new Error('disk')))
    downlink().sendCommands(['a', 'b'].map(plainCommand))
    await until(() => receipts.length === 1)
    expect(receipts).toEqual([{ stored: [], refused: ['a', 'b'] }])
  })

  test('that were answered after their session get no receipt in the next one', async () => {
    const late = Promise.withResolvers<void>()
    const { downlink, sessions, receipts, received } = await withInbox(async (stored) => {
      if (stored.includes('late')) await late.promise
      return { stored, refused: [] }
    })
    downlink().sendCommands([plainCommand('late')])
    await until(() => received.length === 1)
    downlink().end('test')
    await until(() => sessions.length === 2)
    late.resolve()
    downlink().sendCommands([plainCommand('late'), plainCommand('next')])
    await until(() => receipts.length === 1)
    expect(receipts).toEqual([{ stored: ['late', 'next'], refused: [] }])
  })
})

describe('when the link fails', () => {
  test.each(['cut', 'frozen'] as const)('a link that is %s loses nothing and doubles nothing', async (failure) => {
    const core = await ingestCore({ dir: await tempDir() })
    const link = await openLink({ targetPort: core.port })
    const spool = await startSpool(await tempDir())
    const uplink = await startUplink(spool, link.port, {
      keepaliveMs: 500,
      keepaliveTimeoutMs: 500,
    })
    await append(spool, numbered(100))
    await until(() => uplink.stats().ackedRecords >= 100)
    if (failure === 'cut') await link.cut()
    else link.freeze()
    await append(spool, numbered(100, 100))
    await until(() => !uplink.stats().connected, {
      timeoutMs: 4_000,
      what: 'the failure is seen within seconds',
    })
    await append(spool, numbered(100, 200))
    const restoredAt = performance.now()
    await link.restore()
    await until(() => uplink.stats().connected)
    expect(performance.now() - restoredAt).toBeLessThan(2_000)
    await append(spool, numbered(100, 300))
    const reader = await readTopics(core.bus, [TELEMETRY])
    await until(() => spool.stats().lanes.telemetry.records === 0)
    await until(() => reader.records.length >= 400)
    expect(readings(reader.values(TELEMETRY)).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 400 }, (_, i) => i),
    )
    expect(uplink.stats().reconnects).toBeGreaterThanOrEqual(1)
    await link.close()
  })

  test('a link so slow that answers take longer than the keepalive allows still gets everything through', async () => {
    const core = await ingestCore({ dir: await tempDir() })
    const port = await openSlowLink({ targetPort: core.port, bytesPerSecond: 32 * 1024 })
    const spool = await startSpool(await tempDir())
    const payloads = Array.from({ length: 100 }, () =>
      JSON.stringify({ n: Buffer.from(noise(600)).toString('base64') }),
    )
    await append(spool, payloads)
    const uplink = await startUplink(spool, port, { keepaliveMs: 100, keepaliveTimeoutMs: 100, ackTimeoutMs: 1_000 })
    await until(() => spool.stats().lanes.telemetry.records === 0)
    expect(uplink.stats().reconnects).toBeGreaterThan(0)
    expect(core.ingest.stats().recordsPublished).toBe(100)
  })

  test('an address that does not exist is told, retried, and costs nothing', async () => {
    const spool = await startSpool(await tempDir())
    const uplink = await startUplink(spool, 1, {
      address: 'no-such-host.invalid:7443',
    })
    await until(() => uplink.stats().lastErrorCode === 'UPLINK_UNREACHABLE')
    expect((await append(spool, ['{}']))[0]).toBeNull()
  })

  test('a port where something else answers is told and retried', async () => {
    const server = Bun.listen({
      hostname: '127.0.0.1',
      port: 0,
      socket: { data: (socket) => void socket.end('HTTP/1.1 400\r\n\r\n') },
    })
    const spool = await startSpool(await tempDir())
    const uplink = await startUplink(spool, server.port, {
      connectTimeoutMs: 500,
    })
    await until(() => uplink.stats().lastErrorCode !== null)
    expect(uplink.stats().connected).toBe(false)
    server.stop(true)
  })
})

describe('stopping', () => {
  test('what was just stored is still sent and acknowledged', async () => {
    const core = await ingestCore({ dir: await tempDir() })
    const spool = await startSpool(await tempDir())
    const uplink = await startUplink(spool, core.port)
    await until(() => uplink.stats().connected)
    await append(spool, numbered(500))
    await stopUplink(uplink)
    expect(uplink.stats().state).toBe('stopped')
    expect(uplink.stats().ackedRecords).toBe(500)
  })

  test('it does not wait for a cloud that is not there', async () => {
    const spool = newSpool(await tempDir())
    await spool.start()
    const uplink = await startUplink(spool, 1)
    const begun = performance.now()
    await stopUplink(uplink)
    expect(performance.now() - begun).toBeLessThan(500)
    await stopSpool(spool)
  })
})
