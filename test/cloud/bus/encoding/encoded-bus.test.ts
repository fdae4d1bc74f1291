import { setTimeout as pause } from 'node:timers/promises'
import avsc from 'avsc'
import { describe, expect, it } from 'vitest'
import type { BatchHandler, Bus, BusRecord, ConsumedRecord } from '../../../../cloud/bus/bus.ts'
import { EncodedBus } from '../../../../cloud/bus/encoding/encoded-bus.ts'
import type { SchemaRegistrySettings } from '../../../../cloud/bus/encoding/schema-registry.ts'
import { PublishError, storedOf } from '../../../../cloud/bus/publish-error.ts'
import { topicMissing } from '../../../../cloud/bus/topic-errors.ts'
import { TOPIC_SCHEMAS } from '../../../../proto/generated/avro/topic-schemas.ts'
import { systemClock } from '../../../../shared/clock.ts'
import { silentLogger } from '../../../../shared/log.ts'
import { type FakeRegistry, startFakeRegistry } from '../../../support/fake-schema-registry.ts'
import { ManualClock } from '../../../support/manual-clock.ts'
import { until } from '../../../support/until.ts'

const TOPIC = 'typing-events'
const SUBJECT = `${TOPIC}-value`
const typing = (userId: string) =>
  JSON.stringify({ conversationId: 'c', userId, isTyping: true, timestamp: 5, recipientIds: ['b'] })
const never = new AbortController().signal

interface Setup {
  readonly bus: EncodedBus
  readonly published: BusRecord[]
  /** What the bus below does before it stores. */
  onPublish: () => void
  /** Hands records to whoever has subscribed, as they come off the wire; returns what the handler got. */
  consume(...values: (string | Uint8Array)[]): Promise<string[]>
}

async function setUp(
  fake: FakeRegistry,
  more: Partial<SchemaRegistrySettings> = {},
  clock = systemClock,
): Promise<Setup> {
  const published: BusRecord[] = []
  let onBatch: BatchHandler = () => Promise.resolve()
  const below = {
    name: 'a bus',
    kind: 'kafka',
    start: () => Promise.resolve(),
    stop: () => Promise.resolve(),
    publish: async (_: string, records: readonly BusRecord[]) => {
      setup.onPublish()
      published.push(...records)
    },
    subscribe: async (options: { onBatch: BatchHandler }) => {
      onBatch = options.onBatch
      return { stop: () => Promise.resolve() }
    },
    health: () => ({ state: 'up' }),
    stats: () => ({}),
  } as unknown as Bus
  const registry = { url: fake.url, timeoutMs: 2_000, autoRegister: true, ...more }
  const bus = new EncodedBus({
    bus: below,
    registry,
    avroTopics: [TOPIC],
    schemas: TOPIC_SCHEMAS,
    clock,
    log: silentLogger,
  })
  const got: string[] = []
  const handler: BatchHandler = async ({ records }) => {
    got.push(...records.map(({ value }) => String(value)))
  }
  await bus.subscribe({ group: 'g', topics: [TOPIC], onBatch: handler })
  const setup: Setup = {
    bus,
    published,
    onPublish: () => {},
    consume: async (...values) => {
      got.length = 0
      const records = values.map((value, i): ConsumedRecord => {
        const record = { topic: TOPIC, partition: 0, offset: BigInt(i), key: null, headers: {}, timestampMs: 0 }
        return { ...record, value: Buffer.from(value as string) }
      })
      await onBatch({ topic: TOPIC, partition: 0, records })
      return [...got]
    },
  }
  return setup
}

function bytes(record: BusRecord | undefined): Buffer {
  return record?.value as Buffer
}

describe('publishing', () => {
  it('registers the schema of the topic once, and writes Avro that JSON comes back from', async () => {
    const fake = startFakeRegistry()
    const { bus, published, consume } = await setUp(fake)
    await Promise.all(['a', 'b', 'c'].map((user) => bus.publish(TOPIC, [{ key: user, value: typing(user) }])))
    expect(fake.requests).toEqual([`POST /subjects/${SUBJECT}/versions`])
    expect(published.map(({ key }) => key)).toEqual(['a', 'b', 'c'])
    const values = published.map((record) => bytes(record))
    for (const value of values) expect(value.readUIntBE(0, 5)).toBe(1)
    expect(await consume(...values)).toEqual(['a', 'b', 'c'].map(typing))
    expect(bus.stats().encoding).toMatchObject({ encodedRecords: 3, decodedRecords: 3, registryRequests: 2 })
  })

  it('leaves other topics, and what is Avro already, as they are', async () => {
    const fake = startFakeRegistry()
    const { bus, published } = await setUp(fake)
    await bus.publish('chat-messages', [{ key: null, value: 'any text' }])
    expect(fake.requests).toEqual([])
    const framed = Buffer.from([0, 9, 9, 9, 9, 1])
    await bus.publish(TOPIC, [{ key: null, value: framed }])
    expect(published.map(({ value }) => value)).toEqual(['any text', framed])
  })

  it('refuses records that do not fit, and stores those beside them unless they are published as one', async () => {
    const { bus, published } = await setUp(startFakeRegistry())
    const misfit = { key: 'k', value: '{"conversationId":"c","secret":1}' }
    const refusal = { code: 'RECORD_REFUSED', retryable: false, message: expect.stringContaining('with key k') }
    await expect(bus.publish(TOPIC, [misfit])).rejects.toMatchObject(refusal)
    const records = [{ key: 'a', value: typing('a') }, misfit, { key: 'b', value: typing('b') }]
    await expect(bus.publish(TOPIC, records, { atomic: true })).rejects.toMatchObject(refusal)
    expect(published).toEqual([])
    const error = await bus.publish(TOPIC, records).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject(refusal)
    expect(storedOf(error)).toEqual([0, 2])
    expect(published.map(({ key }) => key)).toEqual(['a', 'b'])
  })

  it('says which of the records are stored when the bus below failed in part', async () => {
    const setup = await setUp(startFakeRegistry())
    setup.onPublish = () => {
      throw new PublishError(topicMissing(TOPIC), [1])
    }
    const records = [{ key: 'k', value: 'misfit' }, ...['a', 'b'].map((user) => ({ key: user, value: typing(user) }))]
    const error = await setup.bus.publish(TOPIC, records).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'TOPIC_MISSING', retryable: true })
    expect(storedOf(error)).toEqual([2])
  })

  it('waits for a registry that is away, which its health says', async () => {
    const fake = startFakeRegistry()
    await fake.die()
    const clock = new ManualClock()
    const { bus, published } = await setUp(fake, {}, clock)
    const attempt = () => bus.publish(TOPIC, [{ key: null, value: typing('a') }])
    await expect(attempt()).rejects.toMatchObject({ code: 'SCHEMA_REGISTRY_AWAY', retryable: true })
    expect(bus.health()).toMatchObject({ state: 'degraded', detail: expect.stringContaining(`published on ${TOPIC}`) })
    fake.comeBack()
    await bus.start()
    await until(() => bus.health().state === 'up')
    await fake.die()
    // What is known goes on without it.
    await attempt()
    expect(published).toHaveLength(1)
    await bus.stop(never)
  })

  it('notices by itself that the registry is back', async () => {
    const fake = startFakeRegistry()
    const clock = new ManualClock()
    const { bus, consume } = await setUp(fake, {}, clock)
    await bus.publish(TOPIC, [{ key: null, value: typing('a') }])
    fake.answer = () => new Response('', { status: 503 })
    await expect(consume(Buffer.from([0, 0, 0, 0, 7, 1]))).rejects.toMatchObject({ retryable: true })
    await bus.start()
    expect(bus.health()).toMatchObject({ state: 'degraded', detail: expect.stringContaining('HTTP 503') })
    fake.answer = null
    await until(async () => {
      clock.advance(5_000)
      await pause(1)
      return bus.health().state === 'up'
    })
    await bus.stop(never)
  })

  it('looks schemas up only, where their operator registers them', async () => {
    const fake = startFakeRegistry()
    const { bus, published } = await setUp(fake, { autoRegister: false })
    const attempt = () => bus.publish(TOPIC, [{ key: null, value: typing('a') }])
    const refusal = { code: 'SCHEMA_REGISTRY_REFUSED', retryable: true, hint: expect.stringContaining('autoRegister') }
    await expect(attempt()).rejects.toMatchObject(refusal)
    fake.register(SUBJECT, '"string"')
    await expect(attempt()).rejects.toMatchObject(refusal)
    const id = fake.register(SUBJECT, JSON.stringify(JSON.parse(TOPIC_SCHEMAS[TOPIC] as string), null, 2))
    await attempt()
    expect(bytes(published[0]).readUIntBE(0, 5)).toBe(id)
    expect(fake.requests.some((request) => request.endsWith('/versions'))).toBe(false)
  })

  it.each([
    [{ username: 'u', password: 'p' }, 'Basic dTpw'],
    [{ token: 't' }, 'Bearer t'],
  ])('logs in, and says what to check when that is refused: %#', async (login, header) => {
    const fake = startFakeRegistry()
    fake.answer = () => Response.json({ message: 'who are you' }, { status: 401 })
    const { bus } = await setUp(fake, login)
    const refusal = { code: 'SCHEMA_REGISTRY_REFUSED', retryable: true, hint: expect.stringContaining('login') }
    await expect(bus.publish(TOPIC, [{ key: null, value: typing('a') }])).rejects.toMatchObject(refusal)
    expect(fake.headers[0]?.get('authorization')).toBe(header)
  })
})

describe('consuming', () => {
  const encode = (schema: string, value: unknown, id: number) => {
    const header = Buffer.alloc(5)
    header.writeUInt32BE(id, 1)
    return Buffer.concat([header, avsc.Type.forSchema(JSON.parse(schema)).toBuffer(value)])
  }
  const text = JSON.stringify({ type: 'record', name: 'T', fields: [{ name: 'text', type: 'string' }] })

  it('takes JSON and Avro side by side, whoever wrote it, and asks for a schema once', async () => {
    const fake = startFakeRegistry()
    const { consume } = await setUp(fake)
    const id = fake.register('theirs', text)
    const value = encode(text, { text: 'ü' }, id)
    expect(await consume('{"a":1}', value, 'no JSON', value)).toEqual([
      '{"a":1}',
      '{"text":"ü"}',
      'no JSON',
      '{"text":"ü"}',
    ])
    await consume(value)
    expect(fake.requests).toEqual([`GET /schemas/ids/${id}`])
  })

  it('hands on what cannot be decoded as it is', async () => {
    const fake = startFakeRegistry()
    const { bus, consume } = await setUp(fake)
    const id = fake.register('theirs', text)
    const other = fake.register('proto', 'syntax = "proto3";', { schemaType: 'PROTOBUF' })
    const short = encode(text, { text: 'abc' }, id).subarray(0, 7)
    const broken = [Buffer.from([0, 1]), Buffer.from([0, 0, 0, 9, 9, 1]), Buffer.from([0, 0, 0, 0, other, 1]), short]
    expect(await consume(...broken, encode(text, { text: 'a' }, id))).toEqual([...broken.map(String), '{"text":"a"}'])
    expect(bus.stats().encoding?.undecodable).toEqual({ UNKNOWN_SCHEMA: 1, UNUSABLE_SCHEMA: 1, MALFORMED: 1 })
  })

  it('has a batch come again while the registry is away, and goes on with what it knows', async () => {
    const fake = startFakeRegistry()
    const { consume } = await setUp(fake)
    const known = encode(text, { text: 'known' }, fake.register('theirs', text))
    await consume(known)
    const unknown = encode('"string"', 'new', fake.register('others', '"string"'))
    await fake.die()
    expect(await consume(known)).toEqual(['{"text":"known"}'])
    await expect(consume(known, unknown)).rejects.toMatchObject({ code: 'SCHEMA_REGISTRY_AWAY', retryable: true })
    fake.comeBack()
    expect(await consume(known, unknown)).toEqual(['{"text":"known"}', '"new"'])
  })

  it('takes no wrong address for a schema that is not there', async () => {
    const fake = startFakeRegistry()
    const { consume } = await setUp(fake, { url: `${fake.url}/elsewhere` })
    const refusal = { code: 'SCHEMA_REGISTRY_REFUSED', hint: expect.stringContaining('kafka.schemaRegistry.url') }
    await expect(consume(Buffer.from([0, 0, 0, 0, 7, 1]))).rejects.toMatchObject(refusal)
  })

  it('waits no longer than it may, and reads no endless answer', async () => {
    const fake = startFakeRegistry()
    const { consume } = await setUp(fake, { timeoutMs: 100 })
    const value = Buffer.from([0, 0, 0, 0, 7, 1])
    fake.answer = () => new Promise(() => {})
    await expect(consume(value)).rejects.toThrow('does not answer within 100 ms')
    fake.answer = () => new Response('x'.repeat(2 * 1024 * 1024))
    await expect(consume(value)).rejects.toThrow('an answer of more than')
  })
})
