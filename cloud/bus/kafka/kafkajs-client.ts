/** The kafkajs client, which consumes and administers: its codecs, its logs on our logger. */

import kafkajs, { type Kafka, type KafkaConfig as KafkaJsConfig, type LogEntry, type SASLOptions } from 'kafkajs'
import Broker from 'kafkajs/src/broker/index.js'
import RequestQueue from 'kafkajs/src/network/requestQueue/index.js'
import type { Logger } from '../../../shared/log.ts'
import { TLS_VERSION_MIN } from '../../../shared/tls.ts'
import { markAborted } from './aborted-records.ts'
import { decompressLz4, decompressSnappy, decompressZstd } from './compression.ts'
import type { KafkaConfig } from './kafka-options.ts'

/** An administrative call gives up after about five seconds of waits. */
const ADMIN_RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 8 }

/**
 * A consumer holds on for about a minute. One that gave up sooner would come back as a new member, and the group would
 * wait for the old one until its session times out. When it gives up nevertheless it is rebuilt by us, with our backoff
 * and our words in the log.
 */
const CONSUMER_RETRY = { initialRetryTime: 100, maxRetryTime: 1_000, retries: 60, restartOnFailure: async () => false }

/** A client to consume or to administer with; connects to nothing by itself. */
export function kafkaJsClient(config: KafkaConfig, use: 'consume' | 'administer', log: Logger): Kafka {
  registerCodecs()
  mendInternals()
  const { tls, sasl } = config
  const options: KafkaJsConfig = {
    clientId: config.clientId,
    brokers: [...config.brokers],
    connectionTimeout: config.connectTimeoutMs,
    authenticationTimeout: config.requestTimeoutMs,
    requestTimeout: config.requestTimeoutMs,
    enforceRequestTimeout: true,
    retry: use === 'consume' ? CONSUMER_RETRY : ADMIN_RETRY,
    logLevel: kafkajs.logLevel.INFO,
    logCreator: () => (entry) => forward(entry, log),
  }
  if (tls !== undefined) options.ssl = { ...tls, minVersion: TLS_VERSION_MIN }
  if (sasl !== undefined) options.sasl = { ...sasl } as SASLOptions
  return new kafkajs.Kafka(options)
}

/** kafkajs calls errors what it goes on from by itself; the part that uses it reports what matters. */
function forward({ level, namespace, log: { message, groupId, error } }: LogEntry, log: Logger): void {
  const fields = { from: `kafkajs ${namespace}`.trim(), groupId, error }
  if (level === kafkajs.logLevel.ERROR || level === kafkajs.logLevel.WARN) log.debug(fields, message)
  else log.trace(fields, message)
}

function registerCodecs(): void {
  const { CompressionCodecs, CompressionTypes } = kafkajs
  const decoder = (decompress: (bytes: Buffer) => Buffer) => () => ({
    compress: () => Promise.reject(new Error('kafkajs does not produce here')),
    decompress: async (bytes: Buffer) => decompress(bytes),
  })
  CompressionCodecs[CompressionTypes.Snappy] = decoder(decompressSnappy)
  CompressionCodecs[CompressionTypes.LZ4] = decoder(decompressLz4)
  CompressionCodecs[CompressionTypes.ZSTD] = decoder(decompressZstd)
}

let isMended = false

/** Once, however many clients there are. */
function mendInternals(): void {
  if (isMended) return
  isMended = true
  quietTimers()
  hideAborted()
}

/**
 * After every request kafkajs sets a timer for requests that wait, also when none does, with a negative delay that the
 * runtime warns about. Without waiting requests there is nothing to set it for.
 */
function quietTimers(): void {
  const { prototype } = RequestQueue
  const original = prototype.scheduleCheckPendingRequests
  prototype.scheduleCheckPendingRequests = function schedule(this: typeof prototype): void {
    if (this.pending.length > 0) original.call(this)
  }
}

/** Of transactions that were aborted no record is handed over; see aborted-records.ts. */
function hideAborted(): void {
  const { prototype } = Broker
  const original = prototype.fetch
  prototype.fetch = async function fetch(this: typeof prototype, request) {
    const answer = await original.call(this, request)
    for (const { partitions } of answer.responses) partitions.forEach(markAborted)
    return answer
  }
}
