/** Who may publish and subscribe to what. Pure: an identity and a topic in, a verdict out. */

import { type DeviceTopic, deviceTopic, parseDeviceTopic, SERIAL_NUMBER_PATTERN } from '../../shared/mqtt-topics.ts'

/** Who a connection is. */
export type Identity =
  /** One device: publishes its telemetry, status and responses, receives its commands. */
  | { readonly role: 'device'; readonly username: string; readonly siteId: number; readonly serialNumber: string }
  /** A tool on site: watches everything, publishes nothing. */
  | { readonly role: 'observer'; readonly username: string }
  /** A person on site: watches everything, and the broker itself. */
  | { readonly role: 'operator'; readonly username: string }
  /** Anyone at all, where anonymous clients are allowed: speaks for any device, watches everything. */
  | { readonly role: 'local' }

export type PublishVerdict =
  | { readonly allowed: true; readonly topic: DeviceTopic }
  | { readonly allowed: false; readonly reason: 'publish-denied' | 'other-device' }

const DEVICE_TOPICS = 'sites/'
const BROKER_TOPICS = '$SYS/'
const DENIED: PublishVerdict = { allowed: false, reason: 'publish-denied' }
const OTHER_DEVICE: PublishVerdict = { allowed: false, reason: 'other-device' }

/** Whether `identity` may publish on `topic`. Commands reach devices from the cloud only, never from an MQTT client. */
export function mayPublish(identity: Identity, topic: string): PublishVerdict {
  if (identity.role !== 'device' && identity.role !== 'local') return DENIED
  const parsed = parseDeviceTopic(topic)
  if (parsed === null || parsed.channel === 'commands') return DENIED
  if (identity.role === 'local') return { allowed: true, topic: parsed }
  const own = parsed.siteId === identity.siteId && parsed.serialNumber === identity.serialNumber
  return own ? { allowed: true, topic: parsed } : OTHER_DEVICE
}

/** Whether `identity` may subscribe to `filter`; a filter is judged as a whole, not by what it would match today. */
export function maySubscribe(identity: Identity, filter: string): boolean {
  switch (identity.role) {
    case 'device':
      return filter === deviceTopic(identity.siteId, identity.serialNumber, 'commands')
    case 'observer':
      return matchesOnlyDeviceTopics(filter)
    case 'operator':
      return matchesOnlyDeviceTopics(filter) || filter.startsWith(BROKER_TOPICS)
    case 'local':
      return filter.startsWith(DEVICE_TOPICS)
  }
}

/**
 * Whether `identity` may be given a message on `topic` at all, whatever it once subscribed to: what waits in a session, or is
 * retained, is judged by what its reader may do now. Commands reach a device by a way of their own.
 */
export function mayReceive(identity: Identity, topic: string): boolean {
  switch (identity.role) {
    case 'device':
      return false
    case 'observer':
    case 'local':
      return topic.startsWith(DEVICE_TOPICS)
    case 'operator':
      return topic.startsWith(DEVICE_TOPICS) || topic.startsWith(BROKER_TOPICS)
  }
}

/**
 * Names the owner of a client id: two connections of one owner may take it over from each other, others may not. A device is
 * one owner, whether it shows a certificate or a password.
 */
export function ownerOf(identity: Identity): string {
  switch (identity.role) {
    case 'device':
      return `device:${identity.siteId}/${identity.serialNumber}`
    case 'local':
      return 'local'
    default:
      return `user:${identity.username}`
  }
}

/** True for `sites/+/devices/+/#` and what is narrower. */
function matchesOnlyDeviceTopics(filter: string): boolean {
  const [sites, site, devices, serial, channel, ...rest] = filter.split('/')
  return (
    sites === 'sites' &&
    devices === 'devices' &&
    rest.length === 0 &&
    (site === '+' || /^[1-9][0-9]{0,8}$/.test(site ?? '')) &&
    (serial === '+' || SERIAL_NUMBER_PATTERN.test(serial ?? '')) &&
    (channel === '#' || channel === '+' || /^(telemetry|status|commands|responses)$/.test(channel ?? ''))
  )
}
