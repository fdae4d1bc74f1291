/** What the broker counts. Every refusal and every dropped delivery has a reason of its own. */

export const REFUSAL_REASONS = [
  'too-many-connections',
  'half-open',
  'address-connections',
  'login-connections',
  'connect-rate',
  'locked-out',
  'handshake-failed',
  'handshake-timeout',
  'unknown-authority',
  'expired',
  'not-yet-valid',
  'revoked',
  'certificate-unfit',
  'certificate-missing',
  'origin-denied',
  'login-removed',
  'rights-changed',
  'connect-timeout',
  'first-packet-not-connect',
  'frame-too-large',
  'malformed-length',
  'malformed-packet',
  'invalid-utf8',
  'nul-in-string',
  'text-frame',
  'bad-credentials',
  'anonymous',
  'client-id-missing',
  'client-id-taken',
  'will-denied',
  'publish-denied',
  'other-device',
  'subscribe-denied',
  'too-many-subscriptions',
  'topic-too-long',
  'keepalive-timeout',
  'not-reading',
  'spool-failed',
  'protocol-error',
] as const
export type RefusalReason = (typeof REFUSAL_REASONS)[number]

export const DROP_REASONS = ['slow-subscriber', 'session-queue-full', 'session-evicted', 'retained-full'] as const
export type DropReason = (typeof DROP_REASONS)[number]

export type PublishChannel = 'telemetry' | 'status' | 'responses'

export class BrokerCounters {
  readonly refused = zeros(REFUSAL_REASONS)
  readonly dropped = zeros(DROP_REASONS)
  /** MQTT messages accepted for the spool, each once, before it is known whether the disk takes them. */
  readonly publishes: Record<PublishChannel, number> = { telemetry: 0, status: 0, responses: 0 }
  /** Those of `publishes` that did not need the MQTT engine. */
  publishesDirect = 0
  /** Status facts that could not be stored; the device's status counts as unknown again. */
  statusFactsLost = 0
  logins = 0
  /** Times a client was not read for a while because it sent too fast. */
  throttled = 0
  /** Lockouts that began. */
  lockouts = 0
}

function zeros<T extends string>(names: readonly T[]): Record<T, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<T, number>
}
