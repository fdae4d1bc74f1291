/** The MQTT engine, Aedes 1.2.0, behind the few types that the broker needs of it. */

import { Aedes } from 'aedes'
import mqemitter from 'mqemitter'
import type { EngineStream } from './engine-stream.ts'
import type { BrokerLimits } from './limits.ts'
import type { ObservedTopics } from './observed-topics.ts'
import { confinePacketIds } from './packet-ids.ts'
import type { DurablePersistence } from './persistence/durable-persistence.ts'
import type { SessionPacket } from './persistence/session-packet.ts'

/** A client of the engine. Names with an underscore are internals of the pinned version; tests hold them in place. */
export interface EngineClient {
  readonly id: string
  readonly clean: boolean
  readonly conn: EngineStream
  readonly subscriptions: Readonly<Record<string, { readonly qos: number }>>
  will: SessionPacket | null
  /** Set when the client said DISCONNECT; no will is published then. */
  _disconnected: boolean
  readonly _keepaliveTimer: { refresh(): void } | null
  /** The packet identifier of its next delivery. */
  _nextId: number
}

/** CONNACK return codes that refuse [MQTT-3.2.2.3]. */
export const CONNACK = { identifierRejected: 2, serverUnavailable: 3, badCredentials: 4, notAuthorized: 5 } as const

export interface EngineHooks {
  /** The return code of the CONNACK that refuses, or null to let the client in. */
  login(client: EngineClient, username: string | undefined, password: Buffer | undefined): number | null
  /** Calls `done` once the message may be acknowledged; an error closes the connection. `client` is null for old wills. */
  publish(client: EngineClient | null, packet: SessionPacket, done: (error: Error | null) => void): void
  subscribe(client: EngineClient, filter: string): boolean
  /** SUBACK was sent; `qos` is what was granted, above 2 for what was refused. */
  subscribed(client: EngineClient, filters: readonly { readonly topic: string; readonly qos: number }[]): void
  unsubscribed(client: EngineClient, filters: readonly string[]): void
  /** False drops the delivery. */
  forward(client: EngineClient, packet: SessionPacket): boolean
  connected(client: EngineClient): void
  accepted(client: EngineClient): void
  keepaliveExpired(client: EngineClient): void
  clientFailed(client: EngineClient, error: Error): void
  failed(error: Error): void
}

export interface Engine {
  attach(stream: EngineStream): EngineClient
  /** Delivers a message with QoS 0 to those who are there. */
  publish(topic: string, payload: Buffer): void
  /** Loads sessions and begins. */
  listen(): Promise<void>
  close(): Promise<void>
}

type Callback = (error: Error | null, value?: unknown) => void

export function createEngine(options: {
  readonly id: string
  readonly persistence: DurablePersistence
  readonly observed: ObservedTopics
  readonly limits: BrokerLimits
  readonly hooks: EngineHooks
}): Engine {
  const { hooks, limits } = options
  const refused = (returnCode: number) => Object.assign(new Error('login refused'), { returnCode })
  const aedes = new Aedes({
    id: options.id,
    mq: observingEmitter(options.observed),
    persistence: options.persistence,
    connectTimeout: limits.connectTimeoutMs,
    // A stream that always accepts never waits for a client to drain.
    drainTimeout: 0,
    // Wills of an earlier run are published after four of these.
    heartbeatInterval: Math.ceil(limits.willGraceMs / 4),
    maxInflightInbound: limits.inflightQos2Max,
    authenticate: (client: unknown, username: unknown, password: unknown, done: Callback) => {
      const code = hooks.login(client as EngineClient, username as string | undefined, password as Buffer | undefined)
      if (code === null) done(null, true)
      else done(refused(code), false)
    },
    authorizePublish: (client: unknown, packet: unknown, done: Callback) =>
      hooks.publish(client as EngineClient | null, packet as SessionPacket, done),
    authorizeSubscribe: (client: unknown, subscription: { topic: string }, done: Callback) =>
      done(null, hooks.subscribe(client as EngineClient, subscription.topic) ? subscription : null),
    authorizeForward: (client: unknown, packet: unknown) =>
      hooks.forward(client as EngineClient, packet as SessionPacket) ? packet : null,
  } as ConstructorParameters<typeof Aedes>[0])

  const on = aedes.on.bind(aedes) as (event: string, listener: (...values: never[]) => void) => void
  on('client', (client: EngineClient) => hooks.connected(client))
  on('connackSent', (packet: { returnCode: number }, client: EngineClient) => {
    if (packet.returnCode === 0) hooks.accepted(client)
  })
  on('subscribe', (filters: { topic: string; qos: number }[], client: EngineClient) =>
    hooks.subscribed(client, filters),
  )
  on('unsubscribe', (filters: string[], client: EngineClient) => hooks.unsubscribed(client, filters))
  on('keepaliveTimeout', (client: EngineClient) => hooks.keepaliveExpired(client))
  on('clientError', (client: EngineClient, error: Error) => hooks.clientFailed(client, error))
  on('connectionError', (client: EngineClient, error: Error) => hooks.clientFailed(client, error))
  on('error', (error: Error) => hooks.failed(error))

  return {
    attach: (stream) => {
      const client = aedes.handle(stream as never) as unknown as EngineClient
      confinePacketIds(client)
      return client
    },
    publish: (topic, payload) =>
      aedes.publish({ cmd: 'publish', topic, payload, qos: 0, retain: false, dup: false }, () => undefined),
    listen: () => aedes.listen(),
    close: () => new Promise((resolve) => aedes.close(() => resolve())),
  }
}

/** The engine's emitter, telling `observed` of every live subscription. */
function observingEmitter(observed: ObservedTopics): unknown {
  const emitter = mqemitter({ concurrency: 100, matchEmptyLevels: true })
  const on = emitter.on.bind(emitter)
  const removeListener = emitter.removeListener.bind(emitter)
  emitter.on = (topic, notify, done) => {
    observed.add(topic)
    return on(topic, notify, done)
  }
  // Removed from the count at once, from the emitter a turn later: what is still delivered then goes nowhere.
  emitter.removeListener = (topic, notify, done) => {
    observed.remove(topic)
    return removeListener(topic, notify, done)
  }
  return emitter
}
