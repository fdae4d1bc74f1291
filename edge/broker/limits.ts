/** Every limit of the broker, its default, and what happens at it. */

import { RECORD_BYTES_MAX } from '../../shared/limits.ts'

export interface BrokerLimits {
  /** Connections open at once, logged in or not; one more takes the place of the oldest half-open one, or is closed at once. */
  readonly connectionsMax: number
  /** Connections that have not logged in; one more cuts the oldest of them. */
  readonly halfOpenMax: number
  /** Connections from one address (an IPv6 network of 64 bits counts as one); loopback is not limited. */
  readonly connectionsPerAddressMax: number
  /** Connections of one login; clients that are let in without one are not limited. */
  readonly connectionsPerLoginMax: number
  /** New connections from one address a second on average, with ten seconds of them at once; loopback is not limited. */
  readonly connectRateMax: number
  /** Addresses, and usernames at addresses, that are remembered; beyond it the one idle for longest is forgotten. */
  readonly addressesMax: number
  /** From accept to the end of the TLS handshake, milliseconds. */
  readonly handshakeTimeoutMs: number
  /** Failures of one username at one address, leaking away within ten minutes, at which it is locked out there. */
  readonly loginFailuresMax: number
  /** The same for all failures at one address from which nobody is logged in; loopback is never locked out. */
  readonly loginFailuresPerAddressMax: number
  /** How long the first lockout lasts, milliseconds; each one that follows soon lasts twice as long as the one before. */
  readonly lockoutMs: number
  /** How long a lockout lasts at most, milliseconds. */
  readonly lockoutMaxMs: number
  /** From accept to a complete CONNECT, milliseconds; later the connection is closed. */
  readonly connectTimeoutMs: number
  /** Largest frame before a login, bytes; a larger one is cut at its header. */
  readonly connectFrameBytesMax: number
  /** Largest frame after a login, bytes; a larger one is cut at its header. */
  readonly frameBytesMax: number
  /** Packets of one client a second, acknowledgements apart; a faster one is not read for a while. */
  readonly publishRateMax: number
  /** Subscriptions of one client; one more is answered with failure. */
  readonly subscriptionsPerClientMax: number
  /** Longest topic or filter, bytes; a longer one closes the connection. */
  readonly topicBytesMax: number
  /** Levels of a topic or filter; more close the connection. */
  readonly topicLevelsMax: number
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
  /** Durable sessions; one more evicts the one that is away for longest, of the same owner if it has any. */
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
  halfOpenMax: 2_000,
  // Behind one address may be a whole fleet, twice for a while: once as connections that the network cut in silence.
  connectionsPerAddressMax: 5_000,
  connectionsPerLoginMax: 1_000,
  connectRateMax: 100,
  addressesMax: 20_000,
  handshakeTimeoutMs: 15_000,
  loginFailuresMax: 10,
  loginFailuresPerAddressMax: 100,
  lockoutMs: 30_000,
  lockoutMaxMs: 900_000,
  publishRateMax: 10_000,
  subscriptionsPerClientMax: 100,
  topicBytesMax: 512,
  topicLevelsMax: 16,
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
