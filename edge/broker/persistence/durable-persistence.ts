/**
 * MQTT sessions, retained messages and wills that survive a restart: read from memory, every change journalled to
 * sessions.db. The engine calls it; its method names are those of aedes-persistence, whose suite it passes.
 *
 * What waits for the disk: subscriptions, queued messages, retained messages, and each step of a QoS 2 handshake. What does
 * not: the packet identifier of a QoS 1 delivery and the removal of what was acknowledged; losing those sends a message
 * twice, which QoS 1 allows.
 */

import type { Readable } from 'node:stream'
import type { ObservedTopics } from '../observed-topics.ts'
import { createMemorySessions } from './memory-sessions.ts'
import { NotedSubscriptions } from './noted-subscriptions.ts'
import { OutgoingQueues } from './outgoing-queues.ts'
import type { SessionJournal } from './session-journal.ts'
import {
  type BrokerOfSessions,
  type ClientRef,
  decodePacket,
  detached,
  encodePacket,
  type SessionPacket,
  type Subscription,
} from './session-packet.ts'
import { SessionRegister, type SessionRegisterOptions } from './session-register.ts'
import type { SessionImage } from './session-tables.ts'

export interface DurablePersistenceOptions {
  readonly journal: SessionJournal
  readonly random: SessionRegisterOptions['random']
  /** What was stored before; read once. */
  readonly image: SessionImage
  /** Messages that may wait in one session. */
  readonly queueMax: number
  readonly retainedMax: number
  readonly sessionsMax: number
  /** False keeps a subscription from being stored: the engine asks for all of a packet when it granted one. */
  readonly admits: (client: ClientRef, filter: string) => boolean
  /** By what a client was let in, to be kept with its will. */
  readonly proofOf?: (client: ClientRef) => unknown
  /** Told of every filter that queues messages for someone away. */
  readonly observed: ObservedTopics
  readonly dropped: (reason: 'session-queue-full' | 'session-evicted' | 'retained-full') => void
}

export class DurablePersistence {
  readonly register: SessionRegister
  private readonly options: DurablePersistenceOptions
  private readonly memory = createMemorySessions()
  private readonly outgoing: OutgoingQueues
  private readonly retainedTopics = new Set<string>()
  /** Clients with QoS 2 messages of theirs between PUBLISH and PUBREL. */
  private readonly receiving = new Map<string, Set<number>>()
  private readonly wills = new Set<string>()
  private readonly noted: NotedSubscriptions
  private engine: BrokerOfSessions | null = null

  constructor(options: DurablePersistenceOptions) {
    this.options = options
    const { journal, random, queueMax, sessionsMax, dropped } = options
    this.noted = new NotedSubscriptions(options.observed)
    this.outgoing = new OutgoingQueues({ journal, queueMax, full: () => dropped('session-queue-full') })
    this.register = new SessionRegister({
      journal,
      random,
      sessionsMax,
      forget: (clientId) => this.forgetSession(clientId),
      evicted: () => dropped('session-evicted'),
    })
  }

  get broker(): BrokerOfSessions | null {
    return this.engine
  }

  get retainedCount(): number {
    return this.retainedTopics.size
  }

  /** Messages waiting in all durable sessions. */
  get queuedCount(): number {
    return this.outgoing.count
  }

  async setup(broker: BrokerOfSessions): Promise<void> {
    this.engine = broker
    await this.memory.setup(broker)
    const { image } = this.options
    for (const session of image.sessions) this.register.restore(session)
    for (const { clientId, topic, options } of image.subscriptions) {
      const subscription: Subscription = { topic, ...JSON.parse(options) }
      await this.memory.addSubscriptions({ id: clientId }, [subscription])
      this.noted.note(clientId, topic, { options, queues: subscription.qos > 0 })
    }
    this.outgoing.restore(image.queued)
    for (const row of image.received) {
      const packet = decodePacket(row)
      await this.memory.incomingStorePacket({ id: row.clientId }, packet)
      this.receivingOf(row.clientId).add(row.messageId)
    }
    for (const row of image.retained) {
      const packet = decodePacket(row)
      await this.memory.storeRetained(packet)
      this.retainedTopics.add(packet.topic)
    }
    for (const row of image.wills) {
      const packet = decodePacket(row)
      const { brokerId } = packet
      await this.memory.putWill({ id: row.clientId }, packet)
      // Storing it made it a will of this run; it belongs to the run that ended.
      packet.brokerId = brokerId
      this.wills.add(row.clientId)
    }
  }

  async storeRetained(packet: SessionPacket): Promise<void> {
    const { journal, retainedMax, dropped } = this.options
    const { topic } = packet
    if (packet.payload.length === 0) {
      if (!this.retainedTopics.delete(topic)) return
      journal.append({ kind: 'unretain', topic })
    } else {
      if (!this.retainedTopics.has(topic) && this.retainedTopics.size >= retainedMax) return dropped('retained-full')
      this.retainedTopics.add(topic)
      journal.append({ kind: 'retain', topic, packet: encodePacket(packet) })
    }
    const kept = Object.assign({}, packet, { payload: detached(packet.payload) })
    await Promise.all([this.memory.storeRetained(kept), journal.durable()])
  }

  createRetainedStream(pattern: string): Readable {
    return this.memory.createRetainedStream(pattern)
  }

  createRetainedStreamCombi(patterns: string[]): Readable {
    return this.memory.createRetainedStreamCombi(patterns)
  }

  async addSubscriptions(client: ClientRef, subscriptions: Subscription[]): Promise<void> {
    const { journal, admits } = this.options
    // The engine gives all subscriptions of a packet once for each of them: what is known already is not written again.
    const fresh = subscriptions.filter(({ topic, ...options }) => {
      if (!admits(client, topic)) return false
      const text = JSON.stringify(options)
      if (!this.noted.note(client.id, topic, { options: text, queues: options.qos > 0 })) return false
      journal.append({ kind: 'subscribe', clientId: client.id, topic, options: text })
      return true
    })
    await Promise.all([this.memory.addSubscriptions(client, fresh), journal.durable()])
  }

  async removeSubscriptions(client: ClientRef, topics: string[]): Promise<void> {
    const { journal } = this.options
    const removed = this.memory.removeSubscriptions(client, topics)
    for (const topic of topics) {
      if (this.noted.note(client.id, topic, null)) journal.append({ kind: 'unsubscribe', clientId: client.id, topic })
    }
    await Promise.all([removed, journal.durable()])
  }

  subscriptionsByClient(client: ClientRef): Promise<Subscription[]> {
    return this.memory.subscriptionsByClient(client)
  }

  countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    return this.memory.countOffline()
  }

  subscriptionsByTopic(topic: string): Promise<(Subscription & { clientId: string })[]> {
    return this.memory.subscriptionsByTopic(topic)
  }

  async cleanSubscriptions(client: ClientRef): Promise<void> {
    const topics = (await this.memory.subscriptionsByClient(client)).map(({ topic }) => topic)
    if (topics.length > 0) await this.removeSubscriptions(client, topics)
  }

  getClientList(topic: string): Readable {
    return this.memory.getClientList(topic)
  }

  outgoingEnqueue(subscription: { clientId: string }, packet: SessionPacket): Promise<void> {
    return this.outgoingEnqueueCombi([subscription], packet)
  }

  async outgoingEnqueueCombi(subscriptions: { clientId: string }[], packet: SessionPacket): Promise<void> {
    await this.outgoing.enqueue(subscriptions, packet)
  }

  async outgoingUpdate(client: ClientRef, packet: SessionPacket): Promise<void> {
    await this.outgoing.update(client.id, packet)
  }

  async outgoingClearMessageId(client: ClientRef, packet: SessionPacket): Promise<SessionPacket | undefined> {
    return this.outgoing.remove(client.id, packet)
  }

  outgoingStream(client: ClientRef): Readable {
    return this.outgoing.stream(client)
  }

  /** True when the queued message that `packet` speaks of went out before. */
  isRedelivery(clientId: string, packet: SessionPacket): boolean {
    return this.outgoing.wasSent(clientId, packet)
  }

  /** True when a new delivery is to be left to the queue of the client; `early` while that is still to be read. */
  goesWithQueue(client: ClientRef, packet: SessionPacket, early: boolean): boolean {
    return this.outgoing.goesWithQueue(client, packet, early)
  }

  async incomingStorePacket(client: ClientRef, packet: SessionPacket): Promise<void> {
    const messageId = packet.messageId as number
    await this.memory.incomingStorePacket(client, packet)
    this.receivingOf(client.id).add(messageId)
    // A clean session ends with the connection [MQTT-3.1.2-6], so it has nothing to find after a restart.
    if (client.clean === true) return
    this.options.journal.append({ kind: 'receive', clientId: client.id, messageId, packet: encodePacket(packet) })
    await this.options.journal.durable()
  }

  incomingGetPacket(client: ClientRef, packet: { messageId?: number }): Promise<SessionPacket> {
    return this.memory.incomingGetPacket(client, packet)
  }

  /** True between PUBLISH and PUBREL of a QoS 2 message of the client. */
  isReceiving(clientId: string, messageId: number): boolean {
    return this.receiving.get(clientId)?.has(messageId) ?? false
  }

  async incomingDelPacket(client: ClientRef, packet: { messageId?: number }): Promise<void> {
    const messageId = packet.messageId as number
    await this.memory.incomingDelPacket(client, packet)
    this.receivingOf(client.id).delete(messageId)
    if (client.clean === true) return
    this.options.journal.append({ kind: 'release', clientId: client.id, messageId })
    await this.options.journal.durable()
  }

  async cleanIncoming(client: ClientRef): Promise<void> {
    await this.memory.cleanIncoming(client)
    if (this.receiving.delete(client.id)) this.options.journal.append({ kind: 'release-all', clientId: client.id })
  }

  async putWill(client: ClientRef, packet: SessionPacket): Promise<void> {
    const proof = this.options.proofOf?.(client)
    if (proof !== undefined) packet.proof = proof
    await this.memory.putWill(client, packet)
    this.wills.add(client.id)
    this.options.journal.append({ kind: 'will', clientId: client.id, packet: encodePacket(packet) })
    await this.options.journal.durable()
  }

  getWill(client: ClientRef): Promise<SessionPacket | undefined> {
    return this.memory.getWill(client)
  }

  async delWill(client: ClientRef): Promise<SessionPacket | undefined> {
    const will = await this.memory.delWill(client)
    if (this.wills.delete(client.id)) this.options.journal.append({ kind: 'unwill', clientId: client.id })
    return will
  }

  /** With `brokers`, wills of earlier runs: the engine counts brokers as alive by the wall clock, which may step. */
  streamWill(brokers?: Record<string, number>): Readable {
    return this.memory.streamWill(brokers && { ...brokers, [this.engine?.id ?? '']: 1 })
  }

  async destroy(): Promise<void> {
    await this.memory.destroy()
    await this.options.journal.close()
  }

  private forgetSession(clientId: string): void {
    this.outgoing.forget(clientId)
    this.receiving.delete(clientId)
    this.noted.forget(clientId)
    // In memory both have taken effect when they return.
    void this.memory.cleanIncoming({ id: clientId })
    void this.memory.cleanSubscriptions({ id: clientId })
  }

  private receivingOf(clientId: string): Set<number> {
    return getOrMake(this.receiving, clientId, () => new Set())
  }
}

function getOrMake<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const value = map.get(key) ?? make()
  map.set(key, value)
  return value
}
