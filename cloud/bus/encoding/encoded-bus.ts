/**
 * A bus whose values may be Avro on the wire, while everything above it keeps to JSON text. Topics that are configured so
 * are written as Avro; both are read on every topic, told apart by the first byte, so that a topic can be moved from one to
 * the other while records of both are on it.
 *
 * A record that does not fit the schema of its topic is RECORD_REFUSED. A consumed value that cannot be decoded goes on as
 * it is, to the dead letters. Nothing is refused or given up because the registry is away: what needs it waits.
 */

import type { Clock, Timer } from '../../../shared/clock.ts'
import { ComplaintLimit } from '../../../shared/complaint-limit.ts'
import { BusbarError, messageOf } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/log.ts'
import { aborted } from '../../../shared/waiting.ts'
import type {
  BatchHandler,
  Bus,
  BusRecord,
  BusStats,
  ConsumedBatch,
  ConsumedRecord,
  DependencyHealth,
  EncodingStats,
  GroupPosition,
  PublishOptions,
  SubscribeOptions,
  Subscription,
  TopicDrift,
} from '../bus.ts'
import { PublishError, storedOf } from '../publish-error.ts'
import { type AvroDecoder, AvroEncoder } from './avro-codec.ts'
import { SchemaRegistry, type SchemaRegistrySettings } from './schema-registry.ts'
import { isFramed, schemaIdOf } from './wire-format.ts'
import { type Unreadable, WriterSchemas } from './writer-schemas.ts'

export interface EncodedBusOptions {
  readonly bus: Bus
  readonly registry: SchemaRegistrySettings
  /** Topics that are written as Avro. */
  readonly avroTopics: readonly string[]
  /** Topic → text of the schema of its values. */
  readonly schemas: Readonly<Record<string, string>>
  readonly clock: Clock
  readonly log: Logger
}

/** How often a registry that was away is asked whether it is back. */
const PROBE_PERIOD_MS = 5_000

export class EncodedBus implements Bus {
  readonly name: string
  readonly kind: Bus['kind']
  private readonly options: EncodedBusOptions
  private readonly bus: Bus
  private readonly registry: SchemaRegistry
  private readonly encoders = new Map<string, AvroEncoder>()
  /** Ids of the schemas of topics, asked for once. */
  private readonly ids = new Map<string, Promise<number>>()
  private readonly registered = new Set<string>()
  private readonly writers: WriterSchemas
  private readonly complaints: ComplaintLimit
  private probe: Timer | null = null
  private encodedRecords = 0
  private decodedRecords = 0
  private refusedRecords = 0
  private readonly undecodable: Record<string, number> = {}

  constructor(options: EncodedBusOptions) {
    const { bus, registry, avroTopics, schemas, clock } = options
    this.options = options
    this.bus = bus
    this.name = bus.name
    this.kind = bus.kind
    this.registry = new SchemaRegistry(registry, clock)
    for (const [topic, text] of Object.entries(schemas)) this.encoders.set(topic, new AvroEncoder(text))
    for (const topic of avroTopics) this.encoderOf(topic)
    this.writers = new WriterSchemas(this.registry, (topic) => this.encoders.get(topic)?.shape ?? null, clock)
    this.complaints = new ComplaintLimit(clock)
  }

  /** Resolves also when the registry does not answer; `health` tells. */
  async start(): Promise<void> {
    this.probe ??= this.options.clock.every(PROBE_PERIOD_MS, () => void this.look())
    void this.look()
    await this.bus.start()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    this.probe?.cancel()
    // What was published before this is handed on first, if the registry answers in time.
    await Promise.race([Promise.allSettled(this.ids.values()), aborted(deadline)])
    await this.bus.stop(deadline)
  }

  async publish(topic: string, records: readonly BusRecord[], options: PublishOptions = {}): Promise<void> {
    if (records.length === 0 || !this.options.avroTopics.includes(topic)) {
      return this.bus.publish(topic, records, options)
    }
    // Waited for also when it is known: so publishers stay in the order they came.
    const schemaId = await this.idOf(topic)
    const { encoded, indexes, refusal } = this.encode(topic, schemaId, records)
    if (refusal === null) return this.bus.publish(topic, encoded, options)
    if (encoded.length === 0 || options.atomic === true) throw refusal
    try {
      await this.bus.publish(topic, encoded)
    } catch (error) {
      const stored = storedOf(error).map((index) => indexes[index] as number)
      throw error instanceof BusbarError && stored.length > 0 ? new PublishError(error, stored) : error
    }
    throw new PublishError(refusal, indexes)
  }

  subscribe(options: SubscribeOptions): Promise<Subscription> {
    return this.bus.subscribe({ ...options, onBatch: this.decoding(options.onBatch) })
  }

  tail(options: { topics: readonly string[]; onBatch: BatchHandler }): Promise<Subscription> {
    return this.bus.tail({ ...options, onBatch: this.decoding(options.onBatch) })
  }

  positions(group: string, topics: readonly string[]): Promise<readonly GroupPosition[]> {
    return this.bus.positions(group, topics)
  }

  createTopics(): Promise<readonly string[]> {
    return this.bus.createTopics()
  }

  checkTopics(): Promise<readonly TopicDrift[]> {
    return this.bus.checkTopics()
  }

  health(): DependencyHealth {
    const health = this.bus.health()
    const { failure } = this.registry
    if (health.state !== 'up' || failure === null) return health
    const waiting = this.options.avroTopics.filter((topic) => !this.registered.has(topic))
    const what = waiting.length === 0 ? '' : `; nothing is published on ${waiting.join(', ')} until then`
    return { state: 'degraded', detail: `${failure.replace(/\.$/, '')}${what}.` }
  }

  stats(): BusStats {
    const { requests, failures } = this.registry.stats()
    const encoding: EncodingStats = {
      encodedRecords: this.encodedRecords,
      decodedRecords: this.decodedRecords,
      refusedRecords: this.refusedRecords,
      undecodable: { ...this.undecodable },
      registryRequests: requests,
      registryFailures: failures,
    }
    return { ...this.bus.stats(), encoding }
  }

  /** Asks for the ids that are missing, or whether a registry that was away is back. Never rejects. */
  private async look(): Promise<void> {
    const missing = this.options.avroTopics.filter((topic) => !this.registered.has(topic))
    try {
      for (const topic of missing) await this.idOf(topic)
      if (missing.length === 0 && this.registry.failure !== null) await this.registry.probe()
    } catch (error) {
      const hint = error instanceof BusbarError ? error.hint : undefined
      if (this.complaints.isDue()) this.options.log.warn({ error: messageOf(error), hint }, 'schema registry')
    }
  }

  private idOf(topic: string): Promise<number> {
    let asking = this.ids.get(topic)
    if (asking === undefined) {
      asking = this.askId(topic)
      this.ids.set(topic, asking)
    }
    return asking
  }

  private async askId(topic: string): Promise<number> {
    try {
      const id = await this.registry.idOf(`${topic}-value`, this.options.schemas[topic] as string)
      this.registered.add(topic)
      return id
    } catch (error) {
      this.ids.delete(topic)
      throw error
    }
  }

  private encoderOf(topic: string): AvroEncoder {
    const encoder = this.encoders.get(topic)
    if (encoder === undefined) throw new Error(`topic ${topic} has no Avro schema`)
    return encoder
  }

  /** All in one go; `indexes` are those of the encoded ones among `records`, and `refusal` is of the first that does not fit. */
  private encode(
    topic: string,
    schemaId: number,
    records: readonly BusRecord[],
  ): { encoded: BusRecord[]; indexes: number[]; refusal: BusbarError | null } {
    const encoder = this.encoderOf(topic)
    const encoded: BusRecord[] = []
    const indexes: number[] = []
    let refusal: BusbarError | null = null
    for (const [index, record] of records.entries()) {
      try {
        encoded.push({ ...record, value: encodedValue(encoder, schemaId, record.value) })
        indexes.push(index)
      } catch (error) {
        this.refusedRecords++
        refusal ??= misfit(topic, record.key, error)
      }
    }
    this.encodedRecords += encoded.length
    return { encoded, indexes, refusal }
  }

  private decoding(onBatch: BatchHandler): BatchHandler {
    return async (batch) => {
      const avro = batch.records.filter(({ value }) => isFramed(value))
      if (avro.length === 0) return await onBatch(batch)
      const decoders = await this.decodersFor(batch.topic, avro)
      await onBatch(this.decode(batch, decoders))
    }
  }

  /** By id. @throws BusbarError when the registry is away: the batch comes again. */
  private async decodersFor(
    topic: string,
    records: readonly ConsumedRecord[],
  ): Promise<ReadonlyMap<number, AvroDecoder | Unreadable>> {
    const decoders = new Map<number, AvroDecoder | Unreadable>()
    for (const { value } of records) {
      const id = schemaIdOf(value)
      if (!decoders.has(id)) decoders.set(id, this.writers.known(topic, id) ?? (await this.writers.learn(topic, id)))
    }
    return decoders
  }

  private decode(batch: ConsumedBatch, decoders: ReadonlyMap<number, AvroDecoder | Unreadable>): ConsumedBatch {
    const records = batch.records.map((record) => {
      const decoder = isFramed(record.value) ? decoders.get(schemaIdOf(record.value)) : undefined
      if (decoder === undefined) return record
      if (typeof decoder === 'string') return this.asItIs(record, decoder)
      try {
        const value = Buffer.from(decoder.decode(record.value))
        this.decodedRecords++
        return { ...record, value }
      } catch {
        return this.asItIs(record, 'MALFORMED')
      }
    })
    return { ...batch, records }
  }

  private asItIs(record: ConsumedRecord, cause: string): ConsumedRecord {
    this.undecodable[cause] = (this.undecodable[cause] ?? 0) + 1
    return record
  }
}

/** What is Avro already, such as a dead letter that is replayed byte for byte, stays as it is. */
function encodedValue(encoder: AvroEncoder, schemaId: number, value: BusRecord['value']): Uint8Array {
  if (isFramed(value)) return value
  return encoder.encode(schemaId, typeof value === 'string' ? value : Buffer.from(value).toString('utf8'))
}

function misfit(topic: string, key: string | null, error: unknown): BusbarError {
  const record = `a record for ${topic}${key === null ? '' : ` with key ${key}`}`
  return new BusbarError(`${record} does not fit the Avro schema of the topic: ${messageOf(error)}`, {
    code: 'RECORD_REFUSED',
    hint: 'Mend what wrote it, or set kafka.encoding of the topic to "json".',
  })
}
