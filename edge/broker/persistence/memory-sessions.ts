/** Sessions in memory, by aedes-persistence, without limits: what durable sessions are read from. */

import type { Readable } from 'node:stream'
import MemoryPersistence from 'aedes-persistence/asyncPersistence.js'
import type { BrokerOfSessions, ClientRef, SessionPacket, Subscription } from './session-packet.ts'

/** All but `setup` take effect before they return their promise. */
export interface MemorySessions {
  setup(broker: BrokerOfSessions): Promise<void>
  storeRetained(packet: SessionPacket): Promise<void>
  createRetainedStream(pattern: string): Readable
  createRetainedStreamCombi(patterns: string[]): Readable
  addSubscriptions(client: ClientRef, subscriptions: Subscription[]): Promise<void>
  removeSubscriptions(client: ClientRef, topics: string[]): Promise<void>
  subscriptionsByClient(client: ClientRef): Promise<Subscription[]>
  countOffline(): Promise<{ subsCount: number; clientsCount: number }>
  subscriptionsByTopic(topic: string): Promise<(Subscription & { clientId: string })[]>
  cleanSubscriptions(client: ClientRef): Promise<void>
  incomingStorePacket(client: ClientRef, packet: SessionPacket): Promise<void>
  incomingGetPacket(client: ClientRef, packet: { messageId?: number }): Promise<SessionPacket>
  incomingDelPacket(client: ClientRef, packet: { messageId?: number }): Promise<void>
  cleanIncoming(client: ClientRef): Promise<void>
  putWill(client: ClientRef, packet: SessionPacket): Promise<void>
  getWill(client: ClientRef): Promise<SessionPacket | undefined>
  delWill(client: ClientRef): Promise<SessionPacket | undefined>
  streamWill(brokers?: Record<string, number>): Readable
  getClientList(topic: string): Readable
  destroy(): Promise<void>
}

export function createMemorySessions(): MemorySessions {
  return new MemoryPersistence() as MemorySessions
}
