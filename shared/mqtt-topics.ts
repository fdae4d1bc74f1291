/** The MQTT topics of a substation: `sites/{siteId}/devices/{serialNumber}/{channel}`. */

export const DEVICE_CHANNELS = ['telemetry', 'status', 'commands', 'responses'] as const
export type DeviceChannel = (typeof DEVICE_CHANNELS)[number]

export interface DeviceTopic {
  /** Positive integer. */
  readonly siteId: number
  readonly serialNumber: string
  readonly channel: DeviceChannel
}

/** Serial numbers: 1 to 64 letters, digits, `.`, `_`, `:` or `-`, so that they fit in topics, keys and file names. */
export const SERIAL_NUMBER_PATTERN = /^[A-Za-z0-9._:-]{1,64}$/

const DEVICE_TOPIC =
  /^sites\/([1-9][0-9]{0,8})\/devices\/([A-Za-z0-9._:-]{1,64})\/(telemetry|status|commands|responses)$/

export function deviceTopic(siteId: number, serialNumber: string, channel: DeviceChannel): string {
  return `sites/${siteId}/devices/${serialNumber}/${channel}`
}

/** The parts of a device topic, or null when `topic` is none. */
export function parseDeviceTopic(topic: string): DeviceTopic | null {
  const match = DEVICE_TOPIC.exec(topic)
  if (match === null) return null
  return { siteId: Number(match[1]), serialNumber: match[2] as string, channel: match[3] as DeviceChannel }
}
