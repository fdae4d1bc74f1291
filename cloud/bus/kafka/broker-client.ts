/**
 * Requests to the brokers, each tried once: who leads a partition, a new producer id, one produce request. Retrying,
 * order and the breaker are the caller's. Connections, authentication and framing are @platformatic/kafka's.
 *
 * Its Producer is not used: its partitions share one table of sequence numbers, which a failure of one clears under the
 * others, and it spends several microseconds and a dozen objects a record.
 */

import { isIP } from 'node:net'
import {
  Base,
  ConfigResourceTypes,
  type Connection,
  describeConfigsV1,
  findErrorBy,
  initProducerIdV1,
  type metadataV12,
  type Reader,
  Writer,
} from '@platformatic/kafka'
import { BusbarError } from '../../../shared/errors.ts'
import { TLS_VERSION_MIN } from '../../../shared/tls.ts'
import { topicMissing } from '../topic-errors.ts'
import type { KafkaConfig } from './kafka-options.ts'
import { brokerErrorCode } from './produce-error.ts'

/** Produce version 7 (KIP-110) is understood from Kafka 2.1 to 4.x. */
const PRODUCE_API = 0
const PRODUCE_VERSION = 7
const ACKS_ALL = -1
/** Of a producer without transactions; the field must be there. */
const TRANSACTION_TIMEOUT_MS = 60_000
const UNKNOWN_TOPIC_OR_PARTITION = 3
/**
 * How much of our own patience the broker may spend on waiting for replicas. It answers before we give up, so that the
 * connection and what else waits on it are kept.
 */
const BROKER_TIMEOUT_SHARE = 0.75
/**
 * A broker takes one request of a connection at a time, and with acks=all that includes the replication. Partitions
 * spread over this many connections a broker.
 */
const CONNECTIONS_PER_BROKER = 3
/** Requests on one connection that may wait for an answer; each partition has one at most. */
const INFLIGHT_MAX = 1024

export interface ProducerIdentity {
  readonly producerId: bigint
  readonly producerEpoch: number
}

export class BrokerClient {
  private readonly clients: Base[]
  private readonly requestTimeoutMs: number

  constructor(config: KafkaConfig) {
    this.requestTimeoutMs = config.requestTimeoutMs
    this.clients = Array.from({ length: CONNECTIONS_PER_BROKER }, () => {
      const client = new Base(clientOptions(config))
      client.connections.on('connecting', ({ connection }) => connection.on('error', alreadyTold))
      return client
    })
  }

  /**
   * Node that leads each partition, by partition; -1 while an election runs.
   * @throws BusbarError TOPIC_MISSING; anything else means that no broker answered.
   */
  async leaders(topic: string): Promise<number[]> {
    const client = this.clientOf(0)
    const leaders = await this.askLeaders(client, topic)
    // A broker may be back at another address: the others learn it before they connect again.
    for (const other of this.clients) if (other !== client) other.clearMetadata()
    return leaders
  }

  /** Bytes of the largest batch that a topic takes; null when nobody tells. */
  async batchBytesMax(leader: number, topic: string): Promise<number | null> {
    try {
      const connection = await this.connection(0, leader)
      const setting = {
        resourceType: ConfigResourceTypes.TOPIC,
        resourceName: topic,
        configurationKeys: ['max.message.bytes'],
      }
      const { results } = await describeConfigsV1.api.async(connection, [setting], false, false)
      const value = Number(results[0]?.configs[0]?.value ?? Number.NaN)
      return Number.isNaN(value) ? null : value
    } catch {
      // Without the right to DESCRIBE_CONFIGS the limit stays unknown; it is only told to people.
      return null
    }
  }

  /** Resolves when any broker answers. */
  async ping(): Promise<void> {
    await this.clientOf(0).metadata({ topics: [], forceUpdate: true })
  }

  async newProducer(node: number): Promise<ProducerIdentity> {
    const connection = await this.connection(0, node)
    const { producerId, producerEpoch } = await initProducerIdV1.api.async(connection, null, TRANSACTION_TIMEOUT_MS)
    return { producerId, producerEpoch }
  }

  /** Sends one framed batch to the leader; resolves with Kafka's error code, 0 when it is stored. */
  async produce(
    leader: number,
    topic: string,
    partition: number,
    batch: Buffer,
    transactionalId: string | null = null,
  ): Promise<number> {
    const connection = await this.connection(partition, leader)
    const payload = (): Writer =>
      Writer.create()
        .appendString(transactionalId, false)
        .appendInt16(ACKS_ALL)
        .appendInt32(Math.ceil(this.requestTimeoutMs * BROKER_TIMEOUT_SHARE))
        .appendInt32(1)
        .appendString(topic, false)
        .appendInt32(1)
        .appendInt32(partition)
        .appendInt32(batch.length)
        .append(batch)
    return new Promise((resolve, reject) => {
      connection.send(PRODUCE_API, PRODUCE_VERSION, payload, readErrorCode, false, false, (error, errorCode) => {
        if (error) reject(error)
        else resolve(errorCode as number)
      })
    })
  }

  async close(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.close()))
  }

  private async askLeaders(client: Base, topic: string): Promise<number[]> {
    try {
      const metadata = await client.metadata({ topics: [topic], forceUpdate: true })
      const partitions = metadata.topics.get(topic)?.partitions
      if (partitions === undefined || partitions.length === 0) throw topicMissing(topic)
      return partitions.map(({ leader }) => leader)
    } catch (error) {
      const leaders = partialLeaders(error, topic)
      if (leaders !== null) return leaders
      if (brokerErrorCode(error) === UNKNOWN_TOPIC_OR_PARTITION || isUnknownTopic(error)) throw topicMissing(topic)
      throw error
    }
  }

  /** A broker that is there as far as is known; another one, and as is known by now, with each of `failures`. */
  async anyNode(failures = 0): Promise<number> {
    const client = this.clientOf(0)
    const known = failures === 0 ? client.currentMetadata : undefined
    const { brokers } = known ?? (await client.metadata({ topics: [], forceUpdate: true }))
    const node = [...brokers.keys()][failures % Math.max(1, brokers.size)]
    if (node === undefined) throw new BusbarError('no broker is known', { code: 'KAFKA_BROKER_AWAY', retryable: true })
    return node
  }

  /** A connection to a broker; those of one lane share it. */
  async connection(lane: number, node: number): Promise<Connection> {
    const client = this.clientOf(lane)
    // Each client learns the brokers' addresses itself, once; later they come with the leaders.
    if (client.currentMetadata?.brokers.has(node) !== true) await client.metadata({ topics: [], forceUpdate: true })
    const connection = (await client.connectToBrokers([node])).get(node)
    if (connection === undefined) {
      throw new BusbarError(`broker ${node} is not known to the others`, { code: 'KAFKA_BROKER_AWAY', retryable: true })
    }
    return connection
  }

  private clientOf(lane: number): Base {
    return this.clients[lane % this.clients.length] as Base
  }
}

/**
 * A connection that breaks during a login reports the same failure more than once: to whoever waits for it, and then, when
 * nobody does any more, as an error that would end the process.
 */
function alreadyTold(): void {}

function clientOptions(config: KafkaConfig): ConstructorParameters<typeof Base>[0] {
  const { tls, sasl } = config
  return {
    clientId: config.clientId,
    bootstrapBrokers: [...config.brokers],
    connectTimeout: config.connectTimeoutMs,
    requestTimeout: config.requestTimeoutMs,
    maxInflights: INFLIGHT_MAX,
    // One retry, which the client turns to the next of the brokers: the first may be frozen.
    retries: 1,
    retryDelay: 50,
    ...(tls === undefined ? {} : { tls: { ...tls, minVersion: TLS_VERSION_MIN }, ...serverName(config) }),
    ...(sasl === undefined ? {} : { sasl: { ...sasl, mechanism: saslName(sasl.mechanism) } }),
  }
}

/**
 * The name that a certificate is held against, and that is asked for, is that of the broker. An address can be held against
 * it as well, but not be asked for.
 */
function serverName({ tls, brokers }: KafkaConfig): { tlsServerName?: string | true } {
  if (tls?.servername !== undefined) return { tlsServerName: tls.servername }
  return brokers.some((broker) => isIP(hostOf(broker)) !== 0) ? {} : { tlsServerName: true }
}

function hostOf(broker: string): string {
  return broker.replace(/:[0-9]+$/, '').replace(/^\[(.*)\]$/, '$1')
}

function saslName(mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'): 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512' {
  return mechanism.toUpperCase() as 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
}

/**
 * The leaders in an answer that the client rejects whole because a partition has none: the others have theirs. Null when
 * the answer is about something else.
 */
function partialLeaders(error: unknown, topic: string): number[] | null {
  const rejected = findErrorBy(error as Error, 'code', 'PLT_KFK_RESPONSE') as {
    response?: metadataV12.MetadataResponse
  } | null
  const found = rejected?.response?.topics?.find(({ name }) => name === topic)
  if (found === undefined || found.errorCode !== 0 || found.partitions.length === 0) return null
  const leaders: number[] = Array(found.partitions.length).fill(-1)
  for (const { partitionIndex, leaderId } of found.partitions) leaders[partitionIndex] = leaderId
  return leaders
}

/** The client turns the broker's code into an error of its own when it names a topic. */
function isUnknownTopic(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('Unknown topic')
}

/** The one error code of a produce response that answers for one partition. */
function readErrorCode(_correlationId: number, _apiKey: number, _apiVersion: number, reader: Reader): number {
  reader.readInt32()
  reader.readString(false)
  reader.readInt32()
  reader.readInt32()
  return reader.readInt16()
}
