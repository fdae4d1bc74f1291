/** How to reach Kafka and how much to hold. Every limit has its default here. */

import type { Clock } from '../../../shared/clock.ts'
import type { Logger } from '../../../shared/log.ts'
import type { Random } from '../../../shared/random.ts'
import type { TopicSpec } from '../catalogue.ts'
import type { Compression } from './compression.ts'

export interface KafkaTls {
  /** PEM. Without it the system's authorities are trusted. */
  readonly ca?: string
  /** PEM certificate and key of this client. */
  readonly cert?: string
  readonly key?: string
  /** Name that the certificates of the brokers carry. Default: the host of each. */
  readonly servername?: string
}

export interface KafkaSasl {
  readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
  readonly username: string
  readonly password: string
}

export interface KafkaSettings {
  /** `host:port` of one or more brokers; the others are learnt from them. */
  readonly brokers: readonly string[]
  /** Name in the brokers' logs. Default `busbar-cloud`. */
  readonly clientId?: string
  readonly tls?: KafkaTls
  readonly sasl?: KafkaSasl
  /** Default gzip. */
  readonly compression?: Compression
  /** Of topics created here. Default 1; 3 in production. */
  readonly replicationFactor?: number
  /** Default 1; 2 in production. */
  readonly minInsyncReplicas?: number
  /** Bytes accepted and not yet acknowledged; above it publishers wait. Default 64 MiB. */
  readonly queueBytesMax?: number
  /** How long a publish may stay unacknowledged before it is rejected as retryable. Default 60 s. */
  readonly publishTimeoutMs?: number
  /** How long a broker may take for one request. Default 10 s. */
  readonly requestTimeoutMs?: number
  /** Default 5 s. */
  readonly connectTimeoutMs?: number
  /** How long a group waits for a silent member before its partitions go to others. Default 10 s. */
  readonly sessionTimeoutMs?: number
  /** Records of one batch given to a handler. Default 1000. */
  readonly batchRecordsMax?: number
  /** Partitions of one subscription that are handled side by side. Default 8. */
  readonly partitionsConcurrently?: number
}

export interface KafkaBusOptions extends KafkaSettings {
  readonly topics: readonly TopicSpec[]
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export type KafkaConfig = Required<Omit<KafkaSettings, 'tls' | 'sasl'>> & Pick<KafkaSettings, 'tls' | 'sasl'>

export function withDefaults(settings: KafkaSettings): KafkaConfig {
  return {
    brokers: settings.brokers,
    clientId: settings.clientId ?? 'busbar-cloud',
    ...(settings.tls === undefined ? {} : { tls: settings.tls }),
    ...(settings.sasl === undefined ? {} : { sasl: settings.sasl }),
    compression: settings.compression ?? 'gzip',
    replicationFactor: settings.replicationFactor ?? 1,
    minInsyncReplicas: settings.minInsyncReplicas ?? 1,
    queueBytesMax: settings.queueBytesMax ?? 64 * 1024 ** 2,
    publishTimeoutMs: settings.publishTimeoutMs ?? 60_000,
    requestTimeoutMs: settings.requestTimeoutMs ?? 10_000,
    connectTimeoutMs: settings.connectTimeoutMs ?? 5_000,
    sessionTimeoutMs: settings.sessionTimeoutMs ?? 10_000,
    batchRecordsMax: settings.batchRecordsMax ?? 1000,
    partitionsConcurrently: settings.partitionsConcurrently ?? 8,
  }
}
