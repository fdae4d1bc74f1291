/** The live channels of the WebSocket: where each one's events come from and who may see them. */

import { DEVICE_STATUS, DEVICE_TELEMETRY } from '../../bus/catalogue.ts'
import type { RequiredPermission } from '../permission.ts'

export interface ChannelDeclaration {
  readonly topic: string
  readonly summary: string
  readonly permission: RequiredPermission
}

export const CHANNEL_NAMES = ['telemetry', 'status'] as const
export type Channel = (typeof CHANNEL_NAMES)[number]

export const CHANNELS: Readonly<Record<Channel, ChannelDeclaration>> = {
  telemetry: {
    topic: DEVICE_TELEMETRY,
    summary: 'Readings of devices as they arrive, late ones of an outage included',
    permission: { role: 'viewer', scope: 'site' },
  },
  status: {
    topic: DEVICE_STATUS,
    summary: 'Changes of the status of devices',
    permission: { role: 'viewer', scope: 'site' },
  },
}

const BY_TOPIC = new Map(CHANNEL_NAMES.map((name) => [CHANNELS[name].topic, name]))

export function channelOfTopic(topic: string): Channel | undefined {
  return BY_TOPIC.get(topic)
}
