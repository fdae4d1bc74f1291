import { describe, expect, it } from 'vitest'
import type { ConsumedRecord } from '../../../cloud/bus/bus.ts'
import { readLetter } from '../../../cloud/dead-letters/letter.ts'
import { Registry } from '../../../cloud/registry/registry.ts'
import { Lane } from '../../../proto/generated/busbar/edge/v1/uplink.ts'
import { systemClock } from '../../../shared/clock.ts'
import { silentLogger } from '../../../shared/log.ts'
import { deadLetterCore } from '../../support/dead-letter-core.ts'
import { ingestCore } from '../../support/ingest-core.ts'
import { EPOCH, RECEIVED_AT, rawGateway, wireBlock } from '../../support/raw-gateway.ts'
import { tempDir } from '../../support/temp-dir.ts'
import { readTopics } from '../../support/topic-reader.ts'
import { until } from '../../support/until.ts'

const TELEMETRY = 'sites/1/devices/INV-001/telemetry'
const STATUS = 'sites/1/devices/INV-001/status'
const PAYLOADS = [
  '{"powerKw":1.50,"total":12345678901234567890,"e":1e400,"z":-0,"powerKw":2}',
  '{"timestamp":"2026-01-02T03:00:00+00:00","a":"\\u00e9\\ud83d"}',
  '{"timestamp":"2099-01-01T00:00:00Z", "a" : [ 1 ] }',
  '{"error":"E7","a":1}',
  '{"raw":"QUJD"}',
]

/** An ingest that registers no device by itself, and the dead letters behind it. */
async function core(options: { autoRegister?: boolean } = {}) {
  const ingest = await ingestCore({ dir: await tempDir(), registry: { autoRegister: false } })
  const { database, bus } = ingest
  const common = { database, autoRegisterGateways: true, clock: systemClock, log: silentLogger }
  const { autoRegister = false } = options
  const registry = autoRegister ? new Registry({ ...common, autoRegister }) : ingest.registry
  const { deadLetters } = await deadLetterCore(database, { bus, registry, autoRegister })
  const send = async (...blocks: Parameters<typeof wireBlock>[]) => {
    const gateway = rawGateway(ingest.port)
    await gateway.admitted()
    for (const block of blocks) {
      gateway.block(wireBlock(...block))
      await until(() => gateway.acknowledged().some(([, last]) => last === block[0] + block[1].length - 1))
    }
    gateway.close()
  }
  const register = async () => {
    await registry.sites.create({ id: 1, name: 'Site 1' })
    return registry.devices.create({ siteId: 1, serialNumber: 'INV-001' })
  }
  const listed = async (count: number) => {
    await until(() => deadLetters.stats().indexed === count)
    return (await deadLetters.list()).items
  }
  return { ...ingest, registry, deadLetters, send, register, listed }
}

describe('what ingest gave up', () => {
  it('becomes the record that it would have been, once its device is registered', async () => {
    const { bus, deadLetters, send, register, listed } = await core()
    await send([7, PAYLOADS, { topic: TELEMETRY, backfill: true }])
    const letters = await listed(PAYLOADS.length)
    expect(new Set(letters.map(({ code, source, key }) => `${code} ${source} ${key}`))).toEqual(
      new Set(['UNKNOWN_DEVICE ingest INV-001']),
    )
    const before = await deadLetters.replay({ filter: {} })
    expect(new Set(before.results.map(({ outcome, code }) => `${outcome} ${code}`))).toEqual(
      new Set(['REFUSED UNKNOWN_DEVICE']),
    )
    expect(before.results[0]?.message).toContain('register it over the API')

    await register()
    const dry = await deadLetters.replay({ filter: { code: 'UNKNOWN_DEVICE' }, dryRun: true })
    expect(dry.results.map(({ outcome, topic, key }) => [outcome, topic, key])).toEqual(
      PAYLOADS.map(() => ['WOULD_REPLAY', 'device-telemetry', 'INV-001']),
    )
    const reader = await readTopics(bus, ['device-telemetry', 'device-telemetry-dlt'])
    await deadLetters.replay({ filter: { code: 'UNKNOWN_DEVICE' } })
    // A normal intake of the same payloads, received at the same time.
    await send([100, PAYLOADS, { topic: TELEMETRY, backfill: true }])
    const readings = () => reader.records.filter(({ topic }) => topic === 'device-telemetry')
    await until(() => readings().length === 2 * PAYLOADS.length)
    const [replayed, normal] = [readings().slice(0, PAYLOADS.length), readings().slice(PAYLOADS.length)]
    expect(replayed.map(({ value }) => value.toString())).toEqual(normal.map(({ value }) => value.toString()))
    expect(replayed.map(({ value }) => value.length)).toEqual(dry.results.map(({ bytes }) => bytes))
    expect(replayed.map(({ headers }) => headers['seq'])).toEqual(['7', '8', '9', '10', '11'])
    const withoutPlace = ({ headers: { seq, replayOf, ...headers } }: ConsumedRecord) => headers
    expect(replayed.map(withoutPlace)).toEqual(normal.map(withoutPlace))
    expect(withoutPlace(replayed[0] as ConsumedRecord)).toEqual({
      gateway: 'gw-1',
      epoch: EPOCH,
      receivedAt: new Date(RECEIVED_AT).toISOString(),
      backfill: 'true',
    })
    expect(replayed.map(({ headers }) => headers['replayOf'])).toEqual(dry.results.map(({ id }) => id))
    // Neither the refusals nor the replays left another dead letter.
    expect(reader.records.filter(({ topic }) => topic !== 'device-telemetry')).toHaveLength(PAYLOADS.length)
  })

  it('is listed with its error and refused with the reason while nothing can be made of it', async () => {
    const { bus, deadLetters, send, register, listed } = await core()
    await register()
    await send(
      [1, ['not json'], { topic: TELEMETRY }],
      [2, ['{}'], { topic: 'sites/0/devices/INV-001/telemetry' }],
      [3, ['{"a":1}'], { topic: TELEMETRY, crc32c: 7 }],
      [4, ['{"commandId":"c"}'], { topic: 'sites/1/devices/INV-001/responses', lane: Lane.TELEMETRY }],
      [5, ['{"status":"?"}'], { topic: STATUS }],
      [6, ['7'.repeat(600_000)], { topic: TELEMETRY }],
    )
    const letters = await listed(7)
    const { results } = await deadLetters.replay({ filter: {} })
    const answers = results.map(({ id, outcome, code, message }) => {
      const letter = letters.find((each) => each.id === id)
      return [letter?.code, outcome, code, message === letter?.message]
    })
    expect(Object.fromEntries(answers.map(([died, ...rest]) => [died, rest]))).toEqual({
      NOT_JSON: ['REFUSED', 'NOT_JSON', true],
      BAD_TOPIC: ['REFUSED', 'BAD_TOPIC', true],
      BLOCK_CORRUPT: ['REFUSED', 'BLOCK_DAMAGED', false],
      BAD_RESPONSE_STATUS: ['REFUSED', 'COMMAND_ANSWER', false],
      BAD_STATUS: ['REFUSED', 'BAD_STATUS', true],
      NOT_AN_OBJECT: ['REFUSED', 'NOT_AN_OBJECT', true],
    })
    expect(letters.find(({ code }) => code === 'NOT_AN_OBJECT')).toMatchObject({ parts: 2 })
    const topics = ['device-telemetry-dlt', 'device-status-dlt', 'orchestrator.responses-dlt', 'device-telemetry']
    const reader = await readTopics(bus, topics)
    await until(() => reader.records.length >= 7)
    expect(reader.records).toHaveLength(7)
  })

  it('is a change of status when it is newer than what the device has, and another', async () => {
    const { bus, registry, deadLetters, send, register, listed } = await core()
    const at = (status: string, ms: number) => JSON.stringify({ status, timestamp: RECEIVED_AT + ms })
    const reports = [at('ONLINE', 1_000), at('ERROR', 2_000), at('ERROR', 3_000), at('MAINTENANCE', -5_000)]
    await send([1, reports, { topic: STATUS }])
    await listed(4)
    const { id } = await register()
    const reader = await readTopics(bus, ['device-status'])
    const dry = await deadLetters.replay({ filter: {}, dryRun: true })
    expect(dry.results.map(({ outcome }) => outcome)).toEqual(Array.from({ length: 4 }, () => 'WOULD_REPLAY'))
    expect(await registry.devices.get(id)).toMatchObject({ status: null })
    const { results } = await deadLetters.replay({ filter: {} })
    expect(results.map(({ outcome, code }) => [outcome, code])).toEqual([
      ['REPLAYED', null],
      ['REPLAYED', null],
      ['REFUSED', 'STATUS_UNCHANGED'],
      ['REFUSED', 'STATUS_OUTDATED'],
    ])
    await until(() => reader.records.length === 2)
    expect(reader.values('device-status').map((each) => [each['previousStatus'], each['newStatus']])).toEqual([
      ['OFFLINE', 'ONLINE'],
      ['ONLINE', 'ERROR'],
    ])
    expect(reader.records[0]?.headers).toMatchObject({ gateway: 'gw-1', seq: '1', epoch: EPOCH })
    expect(await registry.devices.get(id)).toMatchObject({ status: 'ERROR', statusAtMs: RECEIVED_AT + 2_000 })
  })

  it('registers the device where that is allowed, which a dry run only says', async () => {
    const { bus, registry, deadLetters, send, listed } = await core({ autoRegister: true })
    await send([1, ['{"a":1}'], { topic: TELEMETRY }])
    await listed(1)
    const dry = await deadLetters.replay({ filter: {}, dryRun: true })
    expect(dry.results).toMatchObject([{ outcome: 'WOULD_REPLAY', message: expect.stringContaining('not registered') }])
    expect((await registry.devices.list()).items).toEqual([])
    const { results } = await deadLetters.replay({ filter: {} })
    expect(results).toMatchObject([{ outcome: 'REPLAYED', message: null }])
    const [device] = (await registry.devices.list()).items
    expect(device).toMatchObject({ serialNumber: 'INV-001', gatewayId: 'gw-1', deviceType: 'SOLAR_INVERTER' })
    const reader = await readTopics(bus, ['device-telemetry'])
    await until(() => reader.records.length === 1)
    expect(reader.values('device-telemetry')).toMatchObject([{ deviceId: device?.id, telemetryData: { a: 1 } }])
  })

  it('without the topic that it came on is taken for the only device of its serial number', async () => {
    const { bus, registry, deadLetters, register, listed } = await core()
    const headers = {
      source: 'ingest',
      gateway: 'gw-9',
      epoch: EPOCH,
      seq: '5',
      receivedAt: '2026-01-02T03:04:05.000Z',
    }
    const value = '{"a":1,"error":{"code":"UNKNOWN_DEVICE"}}'
    await bus.publish('device-telemetry-dlt', [{ key: 'INV-001', value, headers }])
    const [letter] = await listed(1)
    const ids = [letter?.id as string]
    const codeOf = async () => (await deadLetters.replay({ ids, dryRun: true })).results[0]?.code
    expect(await codeOf()).toBe('DEVICE_UNCLEAR')
    const device = await register()
    expect(await codeOf()).toBeNull()
    await registry.sites.create({ id: 2, name: 'Site 2' })
    await registry.devices.create({ siteId: 2, serialNumber: 'INV-001' })
    expect(await codeOf()).toBe('DEVICE_UNCLEAR')
    // A replay does not move a device to the gateway that it was behind.
    expect(await registry.devices.get(device.id)).toMatchObject({ gatewayId: null })
  })

  it('has a time that can be read back', () => {
    const record = { topic: 'device-telemetry-dlt', partition: 0, offset: 0n, key: null, headers: {}, timestampMs: 5 }
    const value = Buffer.from('{"error":{"code":"X","timestamp":"2026-01-02T03:04:05.678Z"}}')
    expect(readLetter({ ...record, value }, 1_000, 10).failedAtMs).toBe(Date.UTC(2026, 0, 2, 3, 4, 5, 678))
  })
})
