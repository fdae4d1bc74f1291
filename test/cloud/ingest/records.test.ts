import { describe, expect, test } from 'vitest'
import { Lane } from '../../../proto/generated/busbar/edge/v1/uplink.ts'
import { type IngestCoreOptions, ingestCore } from '../../support/ingest-core.ts'
import { EPOCH, RECEIVED_AT, rawGateway, wireBlock } from '../../support/raw-gateway.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

const STATUS_TOPIC = 'sites/1/devices/INV-001/status'

async function core(options: Omit<IngestCoreOptions, 'dir'> = {}) {
  return ingestCore({ dir: await tempDir(), ...options })
}

describe('records that cannot be passed on', () => {
  test.each([
    ['not json', 'sites/1/devices/INV-001/telemetry', 'device-telemetry-dlt', 'NOT_JSON'],
    ['[1,2]', 'sites/1/devices/INV-001/telemetry', 'device-telemetry-dlt', 'BATCH_TOO_LARGE'],
    ['{"status":"?"}', STATUS_TOPIC, 'device-status-dlt', 'BAD_STATUS'],
    ['{}', 'sites/0/devices/INV-001/telemetry', 'device-telemetry-dlt', 'BAD_TOPIC'],
    ['{}', 'sites/1/devices/INV-001/commands', 'device-telemetry-dlt', 'BAD_TOPIC'],
    ['{"commandId":"cmd-1"}', 'sites/1/devices/INV-001/responses', 'orchestrator.responses-dlt', 'NO_COMMAND'],
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
})
