/** What one caller can cost: every limit of the API, its default, and what happens at it. */

export interface ApiLimits {
  /** Largest request body, bytes; a larger one is answered 413. */
  readonly bodyBytesMax: number
  /** A connection that sends nothing for so long within a request is closed, seconds (1 to 255). */
  readonly requestIdleSeconds: number
  /** How long an idempotency key is remembered, milliseconds. */
  readonly idempotencyKeptMs: number
  /** A request that has held its idempotency key for so long is taken for dead, milliseconds. */
  readonly idempotencyInFlightMaxMs: number
  /** How long `/health/ready` waits for the dependencies that are asked, milliseconds. */
  readonly healthTimeoutMs: number
  /** WebSocket clients at once; another one is answered 503. */
  readonly socketsMax: number
  /** WebSocket clients of one user or API key at once; another one is answered 429. */
  readonly socketsPerCallerMax: number
  /** A WebSocket whose caller could not be looked at again for so long is closed (1013), milliseconds. */
  readonly recheckGraceMs: number
  /** Subscriptions of one WebSocket client; another one is an error frame. */
  readonly subscriptionsMax: number
  /** Largest frame a client may send, bytes; a larger one is refused, and beyond 1 MiB closes its socket (1009). */
  readonly frameBytesMax: number
  /** Events waiting for one client, bytes; beyond it events for this client are dropped and counted. */
  readonly clientBufferBytesMax: number
  /** Answers (subscribed, pong, error) waiting beyond that buffer, bytes; beyond it the client is cut, without a close frame. */
  readonly clientRepliesBytesMax: number
  /** A client that stays behind, or was and takes nothing, for so long is cut without a close frame, milliseconds. */
  readonly clientBehindMaxMs: number
  /** A client silent for so long is closed, seconds (8 to 960); pings keep a live one from being silent. */
  readonly clientIdleSeconds: number
}

export const DEFAULT_API_LIMITS: ApiLimits = {
  bodyBytesMax: 1024 * 1024,
  requestIdleSeconds: 30,
  idempotencyKeptMs: 24 * 60 * 60 * 1000,
  idempotencyInFlightMaxMs: 60 * 1000,
  healthTimeoutMs: 2000,
  socketsMax: 10_000,
  socketsPerCallerMax: 50,
  recheckGraceMs: 5 * 60 * 1000,
  subscriptionsMax: 100,
  frameBytesMax: 64 * 1024,
  clientBufferBytesMax: 1024 * 1024,
  clientRepliesBytesMax: 64 * 1024,
  clientBehindMaxMs: 30 * 1000,
  clientIdleSeconds: 60,
}
