/** The live channels of the WebSocket: where each one's events come from, what selects among them, who may see them. */

import { CHAT_MESSAGES, DEVICE_STATUS, DEVICE_TELEMETRY, NOTIFICATIONS } from '../../bus/catalogue.ts'
import type { RequiredPermission } from '../permission.ts'
import type { FilterName } from './filter.ts'

export interface ChannelDeclaration {
  /** The topic that it follows, or the first of them; null when its events are the changes of a resource of the API. */
  readonly topic: string | null
  readonly filters: readonly FilterName[]
  readonly summary: string
  readonly permission: RequiredPermission
  /** Of the routes that show the same: an API key with a scope for those has it for the channel. */
  readonly tag: string
}

export const CHANNEL_NAMES = [
  'telemetry',
  'status',
  'commands',
  'tasks',
  'alerts',
  'notifications',
  'unread',
  'chat',
] as const
export type Channel = (typeof CHANNEL_NAMES)[number]
/** Channels of changed resources. */
export const RESOURCE_CHANNELS = ['commands', 'tasks', 'alerts', 'unread'] as const satisfies readonly Channel[]
export type ResourceChannel = (typeof RESOURCE_CHANNELS)[number]

const viewer = { role: 'viewer', scope: 'site' } as const
const self = { role: 'viewer', scope: 'self' } as const

export const CHANNELS: Readonly<Record<Channel, ChannelDeclaration>> = {
  telemetry: {
    topic: DEVICE_TELEMETRY,
    filters: ['siteId', 'deviceId', 'serialNumber'],
    summary: 'Readings of devices as they arrive, late ones of an outage included',
    permission: viewer,
    tag: 'telemetry',
  },
  status: {
    topic: DEVICE_STATUS,
    filters: ['siteId', 'deviceId', 'serialNumber'],
    summary: 'Changes of the status of devices',
    permission: viewer,
    tag: 'devices',
  },
  commands: {
    topic: null,
    filters: ['siteId', 'deviceId', 'serialNumber', 'commandId'],
    summary: 'Single commands, as GET /api/v1/commands/{id} shows them, whenever one changes',
    permission: viewer,
    tag: 'commands',
  },
  tasks: {
    topic: null,
    filters: ['taskId'],
    summary: 'Tasks with their tally, as GET /api/v1/tasks/{id} shows them, whenever one changes',
    permission: viewer,
    tag: 'tasks',
  },
  alerts: {
    topic: null,
    filters: ['siteId', 'deviceId', 'serialNumber', 'alertId', 'ruleId'],
    summary: 'Alerts, as GET /api/v1/alerts/{id} shows them, whenever one opens, changes or closes',
    permission: viewer,
    tag: 'alerts',
  },
  notifications: {
    topic: NOTIFICATIONS,
    filters: ['userId'],
    summary: 'What users are told, as it comes; each notification once',
    permission: self,
    tag: 'notifications',
  },
  unread: {
    topic: null,
    filters: ['userId'],
    summary: 'How many notifications users have not read, whenever one comes or is read, wherever that is',
    permission: self,
    tag: 'notifications',
  },
  chat: {
    topic: CHAT_MESSAGES,
    filters: ['userId'],
    summary: "What is said in a user's conversations, how far it has come, who is typing and who is there",
    permission: self,
    tag: 'chat',
  },
}

/** Of those whose events are records as they are; conversations follow their topics by themselves. */
const RECORD_CHANNELS = CHANNEL_NAMES.filter((name) => name !== 'chat' && CHANNELS[name].topic !== null)

/** Topics that are followed while anybody is subscribed to one of their channels. */
export const CHANNEL_TOPICS = RECORD_CHANNELS.flatMap((name) => CHANNELS[name].topic ?? [])

const BY_TOPIC = new Map(RECORD_CHANNELS.map((name) => [CHANNELS[name].topic, name]))

export function channelOfTopic(topic: string): Channel | undefined {
  return BY_TOPIC.get(topic)
}

export function isResourceChannel(channel: Channel): channel is ResourceChannel {
  return CHANNELS[channel].topic === null
}
