import { status } from '@grpc/grpc-js'
import { describe, expect, test } from 'vitest'
import type { BusRecord } from '../../../cloud/bus/bus.ts'
import { Ingest } from '../../../cloud/ingest/server.ts'
import { type Encoding, GapReason, Lane } from '../../../proto/generated/busbar/edge/v1/uplink.ts'
import { type IngestCoreOptions, ingestCore } from '../../support/ingest-core.ts'
import { RECEIVED_AT, rawGateway, wireBlock } from '../../support/raw-gateway.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

async function core(options: Omit<IngestCoreOptions, 'dir'> = {}) {
  return ingestCore({ dir: await tempDir(), ...options })
}

describe('a gateway that misbehaves is told which field, and others notice nothing', () => {
  const cases: [string, (gateway: ReturnType<typeof rawGateway>) => Promise<void> | void, string][] = [
    ['a block before Hello', (g) => g.block(wireBlock(1, ['{}'])), 'the first message must be hello'],
    ['an empty message', (g) => g.send(undefined), 'the first message must be hello'],
    ['a bad id', (g) => g.hello({ gatewayId: 'a/b' }), 'hello.gateway_id'],
    ['no epoch', (g) => g.hello({ epoch: '' }), 'hello.epoch'],
    ['a wrong clock', (g) => g.hello({ wallClockMs: -1 }), 'hello.wall_clock_ms'],
    [
      'two Hellos',
      async (g) => {
        await g.admitted({ gatewayId: 'bad' })
        g.hello()
      },
      'only once',
    ],
    [
      'no lane',
      async (g) => {
        await g.admitted({ gatewayId: 'bad' })
        g.block(wireBlock(1, ['{}'], { lane: Lane.UNSPECIFIED }))
      },
      'block.lane',
    ],
    [
      'no records',
      async (g) => {
        await g.admitted({ gatewayId: 'bad' })
        g.block(wireBlock(1, []))
      },
      'block.record_count',
    ],
    [
      'a sequence too large',
      async (g) => {
        await g.admitted({ gatewayId: 'bad' })
        g.block(wireBlock(Number.MAX_SAFE_INTEGER, ['{}', '{}']))
      },
      'block.first_sequence',
    ],
    [
      'a gap of nothing',
      async (g) => {
        await g.admitted({ gatewayId: 'bad' })
        g.send({
          $case: 'gap',
          value: {
            lane: Lane.TELEMETRY,
            firstSequence: 1,
            recordCount: 0,
            reason: GapReason.AGE,
            wallClockMs: 0,
          },
        })
      },
      'gap.record_count',
    ],
  ]
  test.each(cases)('%s', async (_, misbehave, problem) => {
    const { port, bus } = await core()
    const good = rawGateway(port)
    await good.admitted()
    good.block(wireBlock(1, ['{"n":1}']))
    const bad = rawGateway(port)
    await misbehave(bad)
    await until(() => bad.ended)
    expect(bad.ended).toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringContaining(problem),
    })
    good.block(wireBlock(2, ['{"n":2}']))
    await until(() => good.acknowledged().flat().includes(2))
    expect(good.ended).toBeNull()
    const reader = await readTopics(bus, ['device-telemetry'])
    await until(() => reader.records.length === 2)
  })

  test('bytes that are no message', async () => {
    const { port } = await core()
    const gateway = rawGateway(port)
    await gateway.admitted()
    // A sequence above 2^53 cannot be decoded.
    gateway.block(wireBlock(2 ** 60, ['{}']))
    await until(() => gateway.ended)
    expect(gateway.ended).toMatchObject({ code: status.INVALID_ARGUMENT })
  })

  test('a message above the limit', async () => {
    const { port } = await core()
    const gateway = rawGateway(port)
    await gateway.admitted()
    gateway.block(wireBlock(1, ['{}'], { data: Buffer.alloc(3 * 1024 * 1024) }))
    await until(() => gateway.ended)
    expect(gateway.ended).toMatchObject({ code: status.RESOURCE_EXHAUSTED })
  })

  test('silence', async () => {
    const { port } = await core({ ingest: { helloTimeoutMs: 400 } })
    const gateway = rawGateway(port)
    await until(() => gateway.ended)
    expect(gateway.ended).toMatchObject({
      code: status.DEADLINE_EXCEEDED,
      details: expect.stringContaining('Hello'),
    })
  })

  test('more than the credit', async () => {
    const { port } = await core({
      wrapBus: () => ({ publish: () => Bun.sleep(500) }),
    })
    const gateway = rawGateway(port)
    await gateway.admitted()
    const filler = JSON.stringify({ text: 'x'.repeat(50_000) })
    for (let i = 0; i < 3; i++) gateway.block(wireBlock(1 + i, [filler]))
    await until(() => gateway.ended)
    expect(gateway.ended).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
      details: expect.stringContaining('credit'),
    })
  })
})

describe('admission', () => {
  test('a gateway that is not registered is refused with the remedy', async () => {
    const { port } = await core({ registry: { autoRegisterGateways: false } })
    const gateway = rawGateway(port)
    gateway.hello()
    await until(() => gateway.ended)
    expect(gateway.ended).toMatchObject({
      code: status.PERMISSION_DENIED,
      details: expect.stringContaining('register the gateway'),
    })
  })

  test('a newer stream of the same gateway takes over, and the older is told', async () => {
    const { port, gateways } = await core()
    const older = rawGateway(port)
    await older.admitted()
    const newer = rawGateway(port)
    await newer.admitted()
    await until(() => older.ended)
    expect(older.ended).toMatchObject({
      code: status.ABORTED,
      details: expect.stringContaining('took over'),
    })
    newer.block(wireBlock(1, ['{}']))
    await until(() => newer.acknowledged().length === 1)
    expect(gateways.connectedGateways().map(({ gatewayId }) => gatewayId)).toEqual(['gw-1'])
  })

  test('more gateways than allowed are refused', async () => {
    const { port } = await core({ ingest: { gatewaysMax: 1 } })
    await rawGateway(port).admitted()
    const second = rawGateway(port)
    second.hello({ gatewayId: 'gw-2' })
    await until(() => second.ended)
    expect(second.ended).toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
      details: expect.stringContaining('gatewaysMax'),
    })
  })

  test('presence, version, clock offset and backlog are known, in memory and in the registry', async () => {
    const { port, gateways, registry } = await core({
      registry: { reportPeriodMs: 20 },
    })
    const gateway = rawGateway(port)
    await gateway.admitted({ wallClockMs: Date.now() + 60_000 })
    gateway.send({
      $case: 'backlog',
      value: { records: 7, bytes: 700, oldestWallClockMs: RECEIVED_AT },
    })
    await until(() => gateways.connectedGateways()[0]?.backlog)
    expect(gateways.connectedGateways()[0]).toMatchObject({
      softwareVersion: 'test',
      backlog: { records: 7, bytes: 700, oldestMs: RECEIVED_AT },
    })
    expect(gateways.connectedGateways()[0]?.clockOffsetMs).toBeGreaterThan(50_000)
    await until(async () => (await registry.gateways.get('gw-1'))?.backlog?.records === 7)
    gateway.close()
    await until(() => gateways.connectedCount === 0)
    await until(async () => (await registry.gateways.get('gw-1'))?.connected === false)
  })

  test('there is no plain text beyond loopback', async () => {
    const { ingest, database, registry, gateways, commands, bus } = await core()
    const { log, clock, random } = (ingest as unknown as { options: ConstructorParameters<typeof Ingest>[0] }).options
    const open = new Ingest({
      host: '0.0.0.0',
      port: 0,
      bus,
      database,
      registry,
      gateways,
      commands,
      clock,
      random,
      log,
    })
    await expect(open.start()).rejects.toMatchObject({
      code: 'INGEST_INSECURE',
    })
  })
})

describe('what was received', () => {
  test('is told at Welcome, and dropped when it comes again', async () => {
    const { port, bus, ingest } = await core()
    const first = rawGateway(port)
    await first.admitted()
    first.block(wireBlock(100, ['{"n":0}', '{"n":1}']))
    await until(() => first.acknowledged().length === 1)
    first.close()
    const second = rawGateway(port)
    await second.admitted()
    const welcome = second.responses[0]?.message
    if (welcome?.$case !== 'welcome') throw new Error('no Welcome')
    expect(welcome.value.cursors).toEqual([
      { lane: Lane.PRIORITY, received: [] },
      { lane: Lane.TELEMETRY, received: [{ first: 100, last: 101 }] },
    ])
    second.block(wireBlock(99, ['{"n":9}', '{"n":0}', '{"n":1}', '{"n":2}']))
    await until(() => second.acknowledged().length === 1)
    expect(second.acknowledged()).toEqual([[99, 102]])
    const reader = await readTopics(bus, ['device-telemetry'])
    await until(() => reader.records.length === 4)
    expect(reader.records.map(({ headers }) => headers['seq'])).toEqual(['100', '101', '99', '102'])
    expect(ingest.stats().duplicatesDropped).toBe(2)
  })

  test('of one epoch says nothing of another', async () => {
    const { port, ingest } = await core()
    const first = rawGateway(port)
    await first.admitted()
    first.block(wireBlock(100, ['{}']))
    await until(() => first.acknowledged().length === 1)
    const second = rawGateway(port)
    await second.admitted({ epoch: 'another' })
    second.block(wireBlock(100, ['{}']))
    await until(() => second.acknowledged().length === 1)
    expect(ingest.stats().recordsPublished).toBe(2)
  })

  test('in too many pieces asks for strict order', async () => {
    const { port } = await core()
    const first = rawGateway(port)
    await first.admitted()
    for (let i = 0; i < 300; i++) first.block(wireBlock(1_000 + i * 2, ['{}']))
    await until(() => first.acknowledged().flat().includes(1_598))
    const second = rawGateway(port)
    await second.admitted()
    expect(second.responses[0]?.message).toMatchObject({
      $case: 'welcome',
      value: { strictOrder: true },
    })
  })

  test('gaps are acknowledged, recorded and counted, without what had arrived', async () => {
    const { port, ingest, registry } = await core()
    const gateway = rawGateway(port)
    await gateway.admitted()
    gateway.block(wireBlock(10, ['{}', '{}']))
    const gap = {
      lane: Lane.TELEMETRY,
      firstSequence: 5,
      recordCount: 10,
      reason: GapReason.BYTES,
      wallClockMs: RECEIVED_AT,
      firstWallClockMs: RECEIVED_AT - 9_000,
      lastWallClockMs: RECEIVED_AT - 4_000,
    }
    gateway.send({ $case: 'gap', value: gap })
    await until(() => gateway.acknowledged().some(([first]) => first === 5))
    expect(ingest.stats().recordsLost).toEqual({ bytes: 8 })
    const gaps = await registry.gateways.gaps('gw-1')
    expect(
      gaps.map(({ firstSequence, recordCount, reason }) => [firstSequence, recordCount, reason]).toSorted(),
    ).toEqual([
      [12, 3, 'bytes'],
      [5, 5, 'bytes'],
    ])
    const stretch = { fromMs: RECEIVED_AT - 9_000, toMs: RECEIVED_AT - 4_000 }
    expect(gaps).toMatchObject([stretch, stretch])
  })

  test('a gap is taken whatever its times are', async () => {
    const { port, registry } = await core()
    const gateway = rawGateway(port)
    await gateway.admitted()
    const times: [number | undefined, number | undefined][] = [
      [undefined, undefined],
      [undefined, RECEIVED_AT],
      [-1, RECEIVED_AT],
      [RECEIVED_AT, RECEIVED_AT - 1_000],
      [RECEIVED_AT, Number.MAX_SAFE_INTEGER],
    ]
    for (const [index, [firstWallClockMs, lastWallClockMs]] of times.entries()) {
      const place = { lane: Lane.TELEMETRY, firstSequence: 1 + index * 10, recordCount: 3, reason: GapReason.AGE }
      const value = { ...place, wallClockMs: RECEIVED_AT, firstWallClockMs, lastWallClockMs }
      gateway.send({ $case: 'gap', value })
    }
    await until(() => gateway.acknowledged().length === times.length)
    const gaps = (await registry.gateways.gaps('gw-1')).toSorted((a, b) => a.firstSequence - b.firstSequence)
    expect(gaps.map(({ fromMs, toMs }) => [fromMs, toMs])).toEqual([
      [null, null],
      [null, RECEIVED_AT],
      [null, RECEIVED_AT],
      [RECEIVED_AT - 1_000, RECEIVED_AT],
      [RECEIVED_AT, null],
    ])
  })
})

describe('when the bus is down', () => {
  test('nothing is acknowledged, the gateway is told that work goes on, and all of it arrives later', async () => {
    let down = true
    const published: BusRecord[] = []
    const { port } = await core({
      wrapBus: (bus) => ({
        async publish(topic, records) {
          if (down) throw new Error('the bus is down')
          published.push(...records)
          await bus.publish(topic, records)
        },
      }),
    })
    const gateway = rawGateway(port)
    await gateway.admitted()
    for (let i = 0; i < 20; i++) gateway.block(wireBlock(i + 1, [`{"n":${i}}`]))
    await until(
      () => gateway.responses.some(({ message }) => message?.$case === 'credit' && message.value.bytes === 0),
      { what: 'a sign of life' },
    )
    expect(gateway.acknowledged()).toEqual([])
    down = false
    await until(() => gateway.acknowledged().flat().includes(20))
    expect(published.map(({ headers }) => Number(headers?.['seq']))).toEqual(
      Array.from({ length: 20 }, (_, i) => i + 1),
    )
  })
})

describe('stopping', () => {
  test('what was taken is acknowledged, then every gateway is told', async () => {
    const { port, ingest } = await core({
      wrapBus: (bus) => ({
        publish: async (topic, records) => {
          await Bun.sleep(50)
          await bus.publish(topic, records)
        },
      }),
    })
    const gateway = rawGateway(port)
    await gateway.admitted()
    for (let i = 0; i < 5; i++) gateway.block(wireBlock(i + 1, ['{}']))
    await until(() => ingest.stats().blocks === 5)
    await ingest.stop(AbortSignal.timeout(5_000))
    await until(() => gateway.ended)
    expect(gateway.acknowledged().flat()).toContain(5)
    expect(gateway.ended).toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringContaining('stopping'),
    })
  })
})

test('blocks of every encoding arrive', async () => {
  const { port, bus } = await core()
  const gateway = rawGateway(port)
  await gateway.admitted()
  gateway.block(wireBlock(1, ['{"n":1}'], {}, 'zstd'))
  gateway.block(wireBlock(2, ['{"n":2}'], {}, 'identity'))
  gateway.block(wireBlock(3, ['{"n":3}'], { encoding: 7 as Encoding }))
  await until(() => gateway.acknowledged().flat().includes(3))
  const reader = await readTopics(bus, ['device-telemetry'])
  await until(() => reader.records.length === 2)
})
