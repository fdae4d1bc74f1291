import { describe, expect, test } from 'vitest'
import type { CommandChange } from '../../../cloud/gateways/gateways.ts'
import { Lane } from '../../../proto/generated/busbar/edge/v1/uplink.ts'
import { type IngestCoreOptions, ingestCore } from '../../support/ingest-core.ts'
import { EPOCH, RECEIVED_AT, rawGateway, wireBlock } from '../../support/raw-gateway.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

const STATUS_TOPIC = 'sites/1/devices/INV-001/status'
const FACTS_TOPIC = 'sites/1/devices/INV-001/commands'
const RESPONSES_TOPIC = 'sites/1/devices/INV-001/responses'

async function core(options: Omit<IngestCoreOptions, 'dir'> = {}) {
  return ingestCore({ dir: await tempDir(), ...options })
}

describe('records that cannot be passed on', () => {
  test.each([
    ['not json', 'sites/1/devices/INV-001/telemetry', 'device-telemetry-dlt', 'NOT_JSON'],
    ['[1,2]', 'sites/1/devices/INV-001/telemetry', 'device-telemetry-dlt', 'BATCH_TOO_LARGE'],
    ['{"status":"?"}', STATUS_TOPIC, 'device-status-dlt', 'BAD_STATUS'],
    ['{}', 'sites/0/devices/INV-001/telemetry', 'device-telemetry-dlt', 'BAD_TOPIC'],
    ['{}', 'sites/1/devices/INV-001/commands', 'orchestrator.responses-dlt', 'BAD_COMMAND_ID'],
    ['{"commandId":"c","state":"?"}', FACTS_TOPIC, 'orchestrator.responses-dlt', 'BAD_COMMAND_STATE'],
    ['{"commandId":"c"}', RESPONSES_TOPIC, 'orchestrator.responses-dlt', 'BAD_RESPONSE_STATUS'],
    ['OK', RESPONSES_TOPIC, 'orchestrator.responses-dlt', 'NOT_JSON'],
  ])('%s on %s goes to %s as %s, and is acknowledged', async (payload, topic, deadLetters, code) => {
    const { port, bus, ingest } = await core()
    const gateway = rawGateway(port)
    await gateway.admitted()
    gateway.block(wireBlock(1, [payload], { topic }))
    await until(() => gateway.acknowledged().length === 1)
    const reader = await readTopics(bus, [deadLetters])
    await until(() => reader.records.length === 1)
    expect(reader.values(deadLetters)[0]).toMatchObject({
      error: { code, retryCount: 0 },
    })
    expect(reader.records[0]?.headers).toMatchObject({
      source: 'ingest',
      gateway: 'gw-1',
      seq: '1',
      epoch: EPOCH,
    })
    expect(ingest.stats().deadLettered).toEqual({ [code]: 1 })
  })

  test('a device that is not registered', async () => {
    const { port, bus } = await core({ registry: { autoRegister: false } })
    const gateway = rawGateway(port)
    await gateway.admitted()
    gateway.block(wireBlock(1, ['{"a":1}', '{"a":2}']))
    await until(() => gateway.acknowledged().length === 1)
    const reader = await readTopics(bus, ['device-telemetry-dlt'])
    await until(() => reader.records.length === 2)
    expect(reader.records[0]?.key).toBe('INV-001')
    expect(reader.values('device-telemetry-dlt')[0]).toMatchObject({
      a: 1,
      error: {
        code: 'UNKNOWN_DEVICE',
        message: expect.stringContaining('registry.autoRegister'),
      },
    })
  })

  test('a corrupt block is kept whole, and acknowledged so that it is not sent for ever', async () => {
    const { port, bus } = await core()
    const gateway = rawGateway(port)
    await gateway.admitted()
    const block = wireBlock(1, ['{"a":1}'], { crc32c: 7 })
    gateway.block(block)
    await until(() => gateway.acknowledged().length === 1)
    const reader = await readTopics(bus, ['device-telemetry-dlt'])
    await until(() => reader.records.length === 1)
    const [value] = reader.values('device-telemetry-dlt')
    expect(value).toMatchObject({ error: { code: 'BLOCK_CORRUPT' } })
    expect(Buffer.from(value?.['raw'] as string, 'base64')).toEqual(block.data)
  })
})

describe('a status', () => {
  test('is published when it changes, with what it was before', async () => {
    const { port, bus, ingest } = await core()
    const gateway = rawGateway(port)
    await gateway.admitted()
    const reports = ['ONLINE', 'ONLINE', 'ERROR', 'ONLINE', 'OFFLINE', 'OFFLINE'].map((each) =>
      JSON.stringify({ status: each }),
    )
    gateway.block(
      wireBlock(1, reports.slice(0, 4), {
        topic: STATUS_TOPIC,
        lane: Lane.PRIORITY,
      }),
    )
    await until(() => gateway.acknowledged().length === 1)
    gateway.block(
      wireBlock(5, reports.slice(4), {
        topic: STATUS_TOPIC,
        lane: Lane.PRIORITY,
        wallClockMs: RECEIVED_AT - 1_000,
      }),
    )
    await until(() => gateway.acknowledged().length === 2)
    const reader = await readTopics(bus, ['device-status'])
    await until(() => reader.records.length === 4)
    expect(reader.values('device-status').map((value) => [value['previousStatus'], value['newStatus']])).toEqual([
      ['OFFLINE', 'ONLINE'],
      ['ONLINE', 'ERROR'],
      ['ERROR', 'ONLINE'],
      ['ONLINE', 'OFFLINE'],
    ])
    expect(ingest.stats().statusUnchanged).toBe(2)
  })
  test('is a change by what was saved last, though the registry was read anew in between', async () => {
    let hold: Promise<void> = Promise.resolve()
    const release = Promise.withResolvers<void>()
    const { port, bus, registry, ingest } = await core({
      wrapBus: (real) => ({
        publish: async (topic, records) => {
          await hold
          await real.publish(topic, records)
        },
      }),
    })
    const gateway = rawGateway(port)
    await gateway.admitted()
    const status = (sequence: number, value: string): void =>
      gateway.block(wireBlock(sequence, [`{"status":"${value}"}`], { topic: STATUS_TOPIC, lane: Lane.PRIORITY }))
    status(1, 'ONLINE')
    await until(() => gateway.acknowledged().length === 1)
    hold = release.promise
    status(2, 'OFFLINE')
    await until(() => ingest.stats().blocks === 2)
    status(3, 'ONLINE')
    await until(() => ingest.stats().blocks === 3)
    const [device] = await registry.load('gw-1', [{ siteId: 1, serialNumber: 'INV-001' }])
    await registry.devices.update(device?.deviceId as number, { name: 'renamed' })
    release.resolve()
    await until(() => gateway.acknowledged().flat().includes(3))
    const reader = await readTopics(bus, ['device-status'])
    await until(() => reader.records.length === 3)
    expect(reader.values('device-status').map((value) => value['newStatus'])).toEqual(['ONLINE', 'OFFLINE', 'ONLINE'])
    expect((await registry.load('gw-1', [{ siteId: 1, serialNumber: 'INV-001' }]))[0]?.status).toBe('ONLINE')
  })
})

describe('what is said of a command', () => {
  async function issued(commandId: string, options: Omit<IngestCoreOptions, 'dir'> = {}) {
    const { commands, database, port, ...rest } = await core(options)
    const command = {
      commandId,
      owner: 'command',
      taskId: null,
      deviceId: 1,
      siteId: 1,
      serialNumber: 'INV-001',
      name: 'REBOOT',
      params: 'null',
      issuedAtMs: 1,
      expiresAtMs: RECEIVED_AT + 1_000,
      timeoutMs: 1_000,
    } as const
    const told: CommandChange[] = []
    commands.onChanged('command', (changes) => {
      told.push(...changes)
      return Promise.resolve()
    })
    await database.transaction((transaction) => commands.issue([command], transaction))
    const gateway = rawGateway(port)
    await gateway.admitted()
    const say = (sequence: number, topic: string, text: string): void =>
      gateway.block(wireBlock(sequence, [text], { topic, lane: Lane.PRIORITY }))
    return { ...rest, database, gateway, told, say }
  }

  test('is stored when it is acknowledged, whether or not the device is registered', async () => {
    const { gateway, told, say, ingest } = await issued('cmd-1a2b3c4d', { registry: { autoRegister: false } })
    say(1, FACTS_TOPIC, '{"commandId":"cmd-1a2b3c4d","state":"DELIVERED"}')
    say(2, RESPONSES_TOPIC, '{"commandId":"cmd-1a2b3c4d","status":"SUCCESS","payload":{"dlmsResultCode":0.00}}')
    await until(() => gateway.acknowledged().flat().includes(2))
    expect(told.map(({ from, to, late, payload, atMs }) => ({ from, to, late, payload, atMs }))).toEqual([
      { from: 'QUEUED', to: 'DELIVERED', late: false, payload: null, atMs: RECEIVED_AT },
      { from: 'DELIVERED', to: 'SUCCEEDED', late: false, payload: '{"dlmsResultCode":0.00}', atMs: RECEIVED_AT },
    ])
    expect(ingest.stats()).toMatchObject({ commandReports: 2, deadLettered: {} })
  })

  test('of one that nobody knows is acknowledged, and kept as a dead letter that names where it came from', async () => {
    const { gateway, told, say, database } = await issued('cmd-1a2b3c4d')
    say(1, RESPONSES_TOPIC, '{"commandId":"cmd-ffffffff","status":"SUCCESS"}')
    await until(() => gateway.acknowledged().length === 1)
    expect(told).toEqual([])
    const [letter] = await database.kysely.selectFrom('outbox').selectAll().execute()
    expect(letter).toMatchObject({ topic: 'orchestrator.responses-dlt', key: 'INV-001' })
    expect(JSON.parse(letter?.headers ?? '')).toMatchObject({ gateway: 'gw-1', seq: '1', epoch: EPOCH })
  })
})
