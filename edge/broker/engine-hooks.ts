/** What the broker answers when the MQTT engine asks: who may in, what is stored, who sees what. */

import { messageOf } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import { parseDeviceTopic } from '../../shared/mqtt-topics.ts'
import type { Admission } from './admission.ts'
import { type CommandRoutes, isOwnCommand } from './command-routes.ts'
import type { Connection } from './connection.ts'
import type { BrokerCounters } from './counters.ts'
import type { DeviceDirectory } from './device-directory.ts'
import type { DevicePresence } from './device-presence.ts'
import { CONNACK, type EngineClient, type EngineHooks } from './engine.ts'
import type { BrokerLimits } from './limits.ts'
import type { DurablePersistence } from './persistence/durable-persistence.ts'
import type { SessionPacket } from './persistence/session-packet.ts'
import type { PublishIntake } from './publish-intake.ts'
import { mayPublish, mayReceive, maySubscribe } from './topic-rules.ts'

export interface EngineHooksOptions {
  readonly admission: Admission
  /** Whether who left a will with an earlier run may still publish on its topic. */
  readonly mayWill: (will: SessionPacket) => boolean
  readonly intake: PublishIntake
  readonly directory: DeviceDirectory
  readonly presence: DevicePresence
  readonly persistence: DurablePersistence
  readonly commands: CommandRoutes
  readonly limits: BrokerLimits
  readonly counters: BrokerCounters
  readonly log: Logger
}

type Done = (error: Error | null) => void

export function connectionOf(client: EngineClient): Connection {
  return client.conn.owner as Connection
}

export function engineHooks(options: EngineHooksOptions): EngineHooks {
  const { admission, mayWill, intake, directory, presence, persistence, commands, limits, counters, log } = options
  const receipts = new Qos2Receipts()

  const publishOldWill = (will: SessionPacket, done: Done): void => {
    const parsed = parseDeviceTopic(will.topic)
    if (parsed !== null && parsed.channel !== 'commands' && mayWill(will)) {
      intake.store(null, will.topic, parsed, will.payload, done)
      return
    }
    counters.refused['will-denied']++
    void persistence.delWill({ id: will.clientId ?? '' })
    done(new Error(`who left a will on ${will.topic} may not publish there`))
  }

  return {
    login(client, username, password) {
      const connection = connectionOf(client)
      // The engine asks a turn after CONNECT; what a client that left meanwhile claimed would never be released.
      if (connection.state !== 'authenticating') return CONNACK.serverUnavailable
      const refusal = admission.admit(connection, client, username, password)
      if (refusal !== null) {
        if (refusal.reason !== null) connection.noteRefusal(refusal.reason)
        return refusal.code
      }
      counters.logins++
      const { identity } = connection
      if (identity?.role === 'device') {
        const device = directory.meet(identity.siteId, identity.serialNumber)
        connection.devices.add(device)
        device.connections++
      }
      return null
    },

    // The engine acknowledges when `done` is called and not before, so this is where durability is waited for.
    publish(client, packet, done) {
      if (client === null) return publishOldWill(packet, done)
      const connection = connectionOf(client)
      const { identity } = connection
      if (identity === null) return done(new Error('not logged in'))
      const verdict = mayPublish(identity, packet.topic)
      // A will was judged when it was left; by now whoever left it may have been sent away.
      if (packet === client.will && !mayWill(packet)) {
        counters.refused['will-denied']++
        return done(new Error('will denied'))
      }
      if (!verdict.allowed) {
        connection.noteRefusal(verdict.reason, { topic: packet.topic })
        // A denied publish ends the connection: 3.1.1 has no other answer [MQTT-3.3.5-2].
        return done(new Error('publish denied'))
      }
      // The engine asks for wills, too, of clients that are gone or are back; no frame of theirs was counted.
      const counted = packet !== client.will && packet.brokerId === undefined
      const settled: Done = (error) => {
        if (counted) connection.engineSettled()
        if (error !== null) connection.noteRefusal('spool-failed', { error: error.message })
        done(error)
      }
      // An empty retained message removes the one retained; it says nothing itself [MQTT-3.3.1-10].
      if (packet.retain && packet.payload.length === 0) return settled(null)
      const { messageId } = packet
      const store = (stored: Done) => intake.store(connection, packet.topic, verdict.topic, packet.payload, stored)
      if (packet.qos !== 2 || messageId === undefined) return store(settled)
      const received: Done = (error) => {
        const over = connection.state === 'closing' || connection.state === 'closed'
        // What the engine noted now would be taken for a message of the connection that follows.
        if (error !== null || !over || !client.clean) return settled(error)
        connection.engineSettled()
        done(new Error('connection closed'))
      }
      // A message received before is acknowledged, not stored again [MQTT-4.3.3-2].
      if (persistence.isReceiving(client.id, messageId)) return settled(null)
      // A clean session has no state beyond its connection [MQTT-3.1.2-6].
      receipts.once(client.clean ? client : client.id, messageId, store, received)
    },

    subscribe(client, filter) {
      const connection = connectionOf(client)
      const allowed = connection.identity !== null && maySubscribe(connection.identity, filter)
      const { filters } = connection
      if (allowed && (filters.has(filter) || filters.size < limits.subscriptionsPerClientMax)) {
        filters.add(filter)
        return true
      }
      // A refused subscription is answered, not punished [MQTT-3.9.3].
      connection.host.count(connection, allowed ? 'too-many-subscriptions' : 'subscribe-denied', { filter })
      // The session had it from a time when it was allowed; it must not go on gathering messages.
      if (connection.state === 'authenticating') void persistence.removeSubscriptions(client, [filter])
      return false
    },

    subscribed: (client, filters) => commands.subscribed(connectionOf(client), filters),

    unsubscribed(client, filters) {
      const connection = connectionOf(client)
      for (const filter of filters) connection.filters.delete(filter)
      commands.unsubscribed(connection, filters)
    },

    forward(client, packet) {
      const connection = connectionOf(client)
      if (connection.identity === null || !mayReceive(connection.identity, packet.topic)) return false
      // Commands reach a device by its route, once; the engine's copies are for those who watch.
      if (isOwnCommand(connection.identity, client, packet.topic)) return false
      if (connection.output.unreadBytes > limits.unreadDropBytes && !isTracked(client, packet)) {
        counters.dropped['slow-subscriber']++
        return false
      }
      if (client.clean || packet.qos === 0) return true
      // Only what comes from the queue has its identifier here.
      const fresh = packet.messageId === undefined
      if (fresh && persistence.goesWithQueue(client, packet, connection.state === 'authenticating')) return false
      if (persistence.isRedelivery(client.id, packet)) packet.dup = true
      return true
    },

    connected(client) {
      const connection = connectionOf(client)
      if (connection.identity?.role !== 'device') return
      for (const device of connection.devices) {
        directory.happened(device, { kind: 'connected' })
        presence.arrived(device)
      }
    },

    accepted: (client) => connectionOf(client).opened(),

    keepaliveExpired: (client) => connectionOf(client).noteRefusal('keepalive-timeout'),

    clientFailed(client, error) {
      connectionOf(client).noteRefusal('protocol-error', { error: messageOf(error) })
    },

    failed(error) {
      log.error({ error: messageOf(error) }, 'the MQTT engine reported an error')
    },
  }
}

/** Whether the client was promised this delivery: then it may be late, not lost. */
function isTracked(client: EngineClient, packet: SessionPacket): boolean {
  return packet.qos > 0 && Object.values(client.subscriptions).some(({ qos }) => qos > 0)
}

/** QoS 2 messages on their way to disk, so that one sent twice meanwhile is stored once. */
class Qos2Receipts {
  private readonly waiting = new Map<string | EngineClient, Map<number, Done[]>>()

  /** @param session a client id, or the client itself when its session ends with the connection. */
  once(session: string | EngineClient, messageId: number, store: (stored: Done) => void, done: Done): void {
    const ofSession = this.waiting.get(session) ?? new Map<number, Done[]>()
    const others = ofSession.get(messageId)
    if (others !== undefined) {
      others.push(done)
      return
    }
    const all = [done]
    ofSession.set(messageId, all)
    this.waiting.set(session, ofSession)
    store((error) => {
      ofSession.delete(messageId)
      if (ofSession.size === 0) this.waiting.delete(session)
      for (const each of all) each(error)
    })
  }
}
