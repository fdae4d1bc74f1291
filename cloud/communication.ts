/**
 * Composition of conversations: what is said, to whom, how far it has come, and who is there.
 *
 *     api, sockets ─▶ messages, conversations ─▶ database + outbox ─▶ relay ─▶ bus ─┬─▶ sockets of every core ─▶ receipts ─▶ database + outbox
 *                                                                                   └─▶ consumer ─▶ notifications to who is not there
 */

import type { Part } from '../shared/lifecycle.ts'
import { sideBySide } from '../shared/lifecycle.ts'
import type { Alerts } from './alerts/alerts.ts'
import { chatRoutes } from './api/routes/chat.ts'
import type { ChatServices } from './api/socket/chat/chat-desk.ts'
import type { Bus } from './bus/bus.ts'
import type { Outbox } from './bus/outbox.ts'
import type { Parking } from './bus/parking.ts'
import {
  ChatConsumer,
  ChatNotices,
  Conversations,
  MemberDirectory,
  Membership,
  Messages,
  Presence,
  Receipts,
  Rosters,
} from './chat/chat.ts'
import { MessageStore } from './chat/message-store.ts'
import type { CloudConfig } from './config.ts'
import type { CoreTools } from './core.ts'
import type { DatabaseHandle } from './database/database.ts'
import { People, type PeopleDirectory } from './identity/identity.ts'
import type { Notifications } from './notifications/notifications.ts'
import type { Tasks } from './orchestration/orchestration.ts'
import type { Registry } from './registry/registry.ts'

export interface CommunicationServices {
  readonly bus: Bus
  readonly database: DatabaseHandle
  readonly outbox: Outbox
  readonly parking: Parking
  readonly registry: Registry
  readonly tasks: Tasks
  readonly alerts: Alerts
  readonly notifications: Notifications
  /** Whether people log in; where nobody does whoever is named can be talked to. */
  readonly hasUsers: boolean
  readonly coreId: string
}

export type Communication = ReturnType<typeof createCommunication>

export function createCommunication(config: CloudConfig, services: CommunicationServices, tools: CoreTools) {
  const { database, registry, tasks, alerts, notifications, hasUsers } = services
  const subjects = { sites: registry.sites, tasks: tasks.store, alerts }
  const membership = new Membership({ database, subjects })
  const common = { ...services, ...tools, subjects, membership, settings: config.chat, notifier: notifications }

  const people: PeopleDirectory = hasUsers ? new People({ database, ...tools }) : new MemberDirectory({ database })
  const messages = new Messages(common)
  const conversations = new Conversations({ ...common, people, messages: new MessageStore(common) })
  const receipts = new Receipts(common)
  const presence = new Presence(common)
  const rosters = new Rosters(common)
  const consumer = new ChatConsumer({ ...common, inbox: notifications.inbox, presence })
  const notices = new ChatNotices(common)

  return {
    ...{ messages, conversations, receipts, presence, rosters, consumer, notices },
    /** What sockets have of it. */
    chat: { messages, receipts, presence, rosters, bus: services.bus, settings: config.chat } satisfies ChatServices,
    routes: chatRoutes({ messages, conversations, receipts, people, presence, ...tools }),
    consumers: [consumer] satisfies readonly Part[],
    duties: sideBySide('chat', [messages, receipts, presence, notices]),
  }
}
