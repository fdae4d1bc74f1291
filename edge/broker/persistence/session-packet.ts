/** The packets that sessions keep, and how they are stored. */

/** What the MQTT engine gives to its persistence; a PUBREL in a queue has `cmd` and `messageId` only. */
export interface SessionPacket {
  cmd?: string
  topic: string
  payload: Buffer
  qos: 0 | 1 | 2
  retain: boolean
  dup?: boolean
  messageId?: number | undefined
  brokerId?: string | undefined
  brokerCounter?: number | undefined
  clientId?: string
  /** Of a will: by what who left it was let in. */
  proof?: unknown
}

export interface Subscription {
  readonly topic: string
  readonly qos: number
  readonly rh?: number
  readonly rap?: boolean
  readonly nl?: boolean
  readonly subscriptionIdentifier?: number
}

export interface ClientRef {
  readonly id: string
  /** True when the session ends with the connection; undefined counts as false. */
  readonly clean?: boolean
}

/** The engine, as far as sessions are concerned. */
export interface BrokerOfSessions {
  readonly id: string
}

/** A packet as a row holds it: everything but the payload as JSON. */
export interface StoredPacket {
  readonly fields: string
  readonly payload: Uint8Array | null
}

const FIELDS = [
  'cmd',
  'topic',
  'qos',
  'retain',
  'dup',
  'messageId',
  'brokerId',
  'brokerCounter',
  'clientId',
  'proof',
] as const

export function encodePacket(packet: SessionPacket): StoredPacket {
  const fields: Record<string, unknown> = {}
  for (const name of FIELDS) if (packet[name] !== undefined) fields[name] = packet[name]
  return {
    fields: JSON.stringify(fields),
    // A copy of its own: a view would take the whole buffer around it along to the thread.
    payload: packet.payload === undefined ? null : Uint8Array.from(Buffer.from(packet.payload)),
  }
}

export function decodePacket(stored: StoredPacket): SessionPacket {
  const packet = JSON.parse(stored.fields) as SessionPacket
  const { payload } = stored
  if (payload !== null) packet.payload = Buffer.from(payload.buffer, payload.byteOffset, payload.length)
  return packet
}

/** A message as it waits in a queue: without the identifier of the connection it came on. */
export function queuedCopy(packet: SessionPacket): SessionPacket {
  const copy: SessionPacket = {
    cmd: packet.cmd ?? 'publish',
    topic: packet.topic,
    payload: packet.payload,
    qos: packet.qos,
    retain: packet.retain,
    dup: packet.dup ?? false,
    brokerId: packet.brokerId,
    brokerCounter: packet.brokerCounter,
    messageId: undefined,
  }
  if (packet.clientId !== undefined) copy.clientId = packet.clientId
  return copy
}

/** A payload without the network buffer around it, for packets that stay in memory. */
export function detached(payload: Buffer): Buffer {
  if (typeof payload === 'string' || payload.buffer.byteLength <= 2 * payload.length) return payload
  const copy = Buffer.allocUnsafeSlow(payload.length)
  payload.copy(copy)
  return copy
}
