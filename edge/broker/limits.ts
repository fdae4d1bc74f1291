/** Every limit of the broker, its default, and what happens at it. */

import { RECORD_BYTES_MAX } from '../../shared/limits.ts'

export interface BrokerLimits {
  /** Connections open at once, logged in or not; one more is closed at once. */
  readonly connectionsMax: number
  /** From accept to a complete CONNECT, milliseconds; later the connection is closed. */
  readonly connectTimeoutMs: number
  /** Largest frame before a login, bytes; a larger one is cut at its header. */
  readonly connectFrameBytesMax: number
  /** Largest frame after a login, bytes; a larger one is cut at its header. */
  readonly frameBytesMax: number
  /** Readings in one batch payload; a larger batch is stored as one record and dead-lettered in the cloud. */
  readonly batchReadingsMax: number
  /** Bytes handed to the MQTT engine and not yet taken by it, per connection; above it the socket is not read. */
  readonly engineBytesMax: number
  /** Bytes a client has not read, above which its socket is not read either. */
  readonly unreadPauseBytes: number
  /** Bytes a subscriber has not read, above which QoS 0 deliveries to it are dropped. */
  readonly unreadDropBytes: number
  /** Bytes a client has not read, above which it is cut. */
  readonly unreadCutBytes: number
  /** A client that has bytes waiting and reads none of them for this long is cut, milliseconds. */
  readonly slowSubscriberMs: number
  /** QoS 2 messages of one client between PUBLISH and PUBREL; one more closes the connection. */
  readonly inflightQos2Max: number
  /** Topics one local client may publish on and have remembered; beyond it the memory starts anew. */
  readonly localTopicsMax: number
  /** Devices remembered for last seen and status; beyond it the one not seen for longest is forgotten. */
  readonly devicesMax: number
  /** Durable sessions; one more evicts the one that is away for longest. */
  readonly sessionsMax: number
  /** A durable session that does not return for this long is removed, days. */
  readonly sessionExpiryDays: number
  /** QoS 1 and 2 messages waiting in one durable session; beyond it the oldest not yet sent is dropped. */
  readonly sessionQueueMax: number
  /** Retained messages; a retained message on one more topic is delivered but not kept. */
  readonly retainedMax: number
  /** Changes of sessions waiting for the disk; beyond it (the disk fails) sessions are kept in memory only. */
  readonly sessionChangesMax: number
  /**
   * After a start, how long a client with a will has to return before its will is published, milliseconds. A quarter later
   * devices that were connected before, and are not back, are said to be OFFLINE.
   */
  readonly willGraceMs: number
}

export const BROKER_LIMITS: BrokerLimits = {
  connectionsMax: 10_000,
  connectTimeoutMs: 10_000,
  connectFrameBytesMax: 4096,
  // Room for the longest topic and the header, so that a payload of RECORD_BYTES_MAX fits.
  frameBytesMax: RECORD_BYTES_MAX + 512,
  batchReadingsMax: 1000,
  engineBytesMax: 64 * 1024,
  unreadPauseBytes: 64 * 1024,
  unreadDropBytes: 256 * 1024,
  unreadCutBytes: 4 * 1024 * 1024,
  slowSubscriberMs: 2000,
  inflightQos2Max: 1000,
  localTopicsMax: 10_000,
  devicesMax: 100_000,
  sessionsMax: 10_000,
  sessionExpiryDays: 30,
  sessionQueueMax: 1000,
  retainedMax: 10_000,
  sessionChangesMax: 100_000,
  willGraceMs: 240_000,
}
