/** What people are told of a gateway's outage: one notice when it begins, however many devices are behind it, one when it ends. */

import { formatBytes, formatCount } from '../../shared/cli/format.ts'
import { type Notice, SUBSCRIBERS } from '../notifications/notifications.ts'
import { durationText } from './duration.ts'
import type { OutageGateway } from './outage-store.ts'

/** Sites that are named; the rest is a number. */
const SITES_NAMED_MAX = 10

export function outageNotice(outage: OutageGateway): Notice {
  const { gatewayId, sinceMs, noticedAtMs, devices, siteIds } = outage
  const lastedMs = noticedAtMs - sinceMs
  const behind =
    devices === 0
      ? 'No device is behind it.'
      : `Behind it ${devices === 1 ? 'is 1 device' : `are ${formatCount(devices)} devices`} at ${sitesText(siteIds)}; ` +
        'what they send waits in the gateway, and their statuses stay as they were.'
  const title = `Gateway ${gatewayId} is offline`
  const content = `${nameOf(outage)} was last heard of at ${timeText(sinceMs)}, ${durationText(lastedMs)} ago.`
  return {
    ...common(outage),
    severity: 'WARNING',
    title,
    content: `${content} ${behind}`,
    toldInPart: { title, content },
    key: `gateway-outage/${gatewayId}/${sinceMs}/begin`,
    burst: burstOf(gatewayId, 'offline'),
    atMs: noticedAtMs,
  }
}

/** @param endedAtMs when it was connected again. */
export function recoveryNotice(outage: OutageGateway, endedAtMs: number): Notice {
  const { gatewayId, sinceMs, backlog } = outage
  const come =
    backlog === null
      ? 'It has not told yet what it kept meanwhile.'
      : backlog.records === 0
        ? 'Everything that it kept meanwhile has arrived.'
        : `${formatCount(backlog.records)} records that it kept, ${formatBytes(backlog.bytes)}, are still to come.`
  const title = `Gateway ${gatewayId} is back`
  const content = `${nameOf(outage)} was offline for ${durationText(endedAtMs - sinceMs)}, since ${timeText(sinceMs)}. ${come}`
  return {
    ...common(outage),
    severity: 'INFO',
    title,
    content,
    toldInPart: { title, content },
    key: `gateway-outage/${gatewayId}/${sinceMs}/end`,
    burst: burstOf(gatewayId, 'back'),
    atMs: endedAtMs,
  }
}

function common({ gatewayId, siteIds }: OutageGateway) {
  return {
    type: 'GATEWAY_OFFLINE',
    relatedEntityId: gatewayId,
    siteIds: siteIds.length === 0 ? null : siteIds,
    recipients: SUBSCRIBERS,
  } as const
}

/** An outage of the cloud's own network is one of all gateways at once. */
function burstOf(gatewayId: string, became: string) {
  return { key: 'gateway-outages', subject: 'gateways', label: `${gatewayId} ${became}` }
}

function nameOf({ gatewayId, name }: OutageGateway): string {
  return name === null ? `Gateway ${gatewayId}` : `Gateway ${gatewayId} (${name})`
}

function sitesText(siteIds: readonly number[]): string {
  const named = siteIds.slice(0, SITES_NAMED_MAX).join(', ')
  const others = siteIds.length - SITES_NAMED_MAX
  return `${siteIds.length === 1 ? 'site' : 'sites'} ${named}${others > 0 ? ` and ${others} more` : ''}`
}

/** To the second. */
function timeText(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}
