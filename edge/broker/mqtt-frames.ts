/**
 * The little of MQTT 3.1.1 frames that is read before, or instead of, the MQTT engine: CONNECT for the login, the strings
 * of SUBSCRIBE and UNSUBSCRIBE for their encoding, the header of PUBLISH.
 */

import { isUtf8 } from 'node:buffer'

export const CONNECT = 1
export const PUBLISH = 3
export const PUBACK = 4
export const PUBREC = 5
const PUBREL = 6
export const PUBCOMP = 7
/** With its reserved flags [MQTT-3.6.1-1]. */
const PUBREL_BYTE = 0x62
const SUBSCRIBE = 8
const UNSUBSCRIBE = 10
export const DISCONNECT = 14
/** What a client may send after CONNECT: publishes, the acknowledgements of QoS 1 and 2, subscriptions, PINGREQ, DISCONNECT. */
const CLIENT_PACKETS: ReadonlySet<number> = new Set([
  PUBLISH,
  PUBACK,
  PUBREC,
  PUBREL,
  PUBCOMP,
  SUBSCRIBE,
  UNSUBSCRIBE,
  12,
  DISCONNECT,
])

/** A string that may not be in a packet: [MQTT-1.5.3-1] and [MQTT-1.5.3-2]. */
export type StringFault = 'invalid-utf8' | 'nul-in-string'
export type FrameFault =
  | StringFault
  | 'malformed-packet'
  | 'protocol-error'
  | 'topic-too-long'
  | 'too-many-subscriptions'

/** What a client says of itself in CONNECT; the password stays with the engine. */
export interface ConnectRequest {
  readonly clientId: string
  readonly cleanSession: boolean
  readonly username: string | undefined
  readonly will: { readonly topic: string; readonly payload: Buffer } | null
}

/** What a client may name. */
export interface TopicLimits {
  readonly topicBytesMax: number
  readonly topicLevelsMax: number
  readonly subscriptionsPerClientMax: number
}

const SLASH = 0x2f
const NUL = Buffer.of(0)
const NOTHING = Buffer.alloc(0)

/** Reads the body of a CONNECT, `[body, end)` of `bytes`. Other protocol versions are left for the engine to refuse. */
export function readConnect(bytes: Buffer, body: number, end: number): ConnectRequest | FrameFault {
  const fields = new FieldReader(bytes, body, end)
  fields.bytes()
  const flags = fields.skip(4) ? (bytes[fields.position - 3] as number) : 0
  const clientId = fields.string()
  const hasWill = (flags & 0x04) !== 0
  const willTopic = hasWill ? fields.string() : ''
  const willPayload = hasWill ? fields.bytes() : NUL
  const username = (flags & 0x80) !== 0 ? fields.string() : undefined
  // [MQTT-3.1.2-3]: the reserved flag is zero.
  if (fields.fault !== null) return fields.fault
  if ((flags & 0x01) !== 0) return 'malformed-packet'
  return {
    clientId,
    cleanSession: (flags & 0x02) !== 0,
    username,
    will: hasWill ? { topic: willTopic, payload: willPayload } : null,
  }
}

/** What is wrong with a frame that a client sent after its CONNECT; null when the engine may have it. */
export function checkFrame(
  bytes: Buffer,
  start: number,
  body: number,
  end: number,
  limits: TopicLimits,
): FrameFault | null {
  const first = bytes[start] as number
  const type = first >> 4
  if (type === PUBLISH) return checkPublish(bytes, first, body, end, limits)
  // [MQTT-3.1.0-2], and packets that only a server sends.
  if (!CLIENT_PACKETS.has(type)) return 'protocol-error'
  // [MQTT-2.2.2-2]: flags are as the packet type says.
  const flags = type === PUBREL || type === SUBSCRIBE || type === UNSUBSCRIBE ? 2 : 0
  if ((first & 0x0f) !== flags) return 'malformed-packet'
  if (type === SUBSCRIBE || type === UNSUBSCRIBE) return checkFilters(bytes, body, end, type === SUBSCRIBE, limits)
  // The rest have an identifier and nothing else, or nothing at all. The engine takes it for granted.
  return end - body === (type <= PUBCOMP ? 2 : 0) ? null : 'malformed-packet'
}

/** Checks the topic filters of a SUBSCRIBE (`withQos`) or UNSUBSCRIBE; null when they are sound. */
function checkFilters(
  bytes: Buffer,
  body: number,
  end: number,
  withQos: boolean,
  limits: TopicLimits,
): FrameFault | null {
  const fields = new FieldReader(bytes, body, end)
  // [MQTT-2.3.1-1]: the identifier is not zero.
  if (fields.skip(2) && bytes.readUInt16BE(body) === 0) return 'malformed-packet'
  let filters = 0
  do {
    fields.topic(limits)
    // [MQTT-3.8.3-4]: the other bits of the QoS are zero.
    if (withQos && fields.skip(1) && (bytes[fields.position - 1] as number) > 2) return 'malformed-packet'
    // What it could not hold together it need not ask for together.
    if (++filters > limits.subscriptionsPerClientMax) return 'too-many-subscriptions'
  } while (fields.fault === null && fields.position < end)
  return fields.fault
}

/**
 * Checks the header of a PUBLISH whose first byte is `first`; null when it is sound. [MQTT-3.3.1-4] forbids QoS 3,
 * [MQTT-3.3.1-2] DUP with QoS 0, [MQTT-2.3.1-1] a packet identifier of zero.
 */
function checkPublish(bytes: Buffer, first: number, body: number, end: number, limits: TopicLimits): FrameFault | null {
  const qos = (first >> 1) & 3
  if (qos === 3 || (qos === 0 && (first & 0x08) !== 0)) return 'malformed-packet'
  const fields = new FieldReader(bytes, body, end)
  fields.topic(limits)
  if (qos > 0 && fields.skip(2)) {
    if (bytes.readUInt16BE(fields.position - 2) === 0) return 'malformed-packet'
  }
  return fields.fault
}

/** PUBACKs for the first `count` packet identifiers of `ids`, in order. */
export function encodePubacks(ids: Uint16Array, count: number): Buffer {
  const bytes = Buffer.allocUnsafe(count * 4)
  for (let i = 0, at = 0; i < count; i++) {
    const id = ids[i] as number
    bytes[at++] = 0x40
    bytes[at++] = 2
    bytes[at++] = id >> 8
    bytes[at++] = id & 0xff
  }
  return bytes
}

/** A PUBLISH that is not retained. */
export function encodePublish(publish: {
  readonly topic: string
  readonly payload: Uint8Array
  readonly qos: 0 | 1 | 2
  /** Left out with QoS 0. */
  readonly packetId: number
  readonly dup: boolean
}): Buffer {
  const { payload, qos, packetId, dup } = publish
  const topic = Buffer.from(publish.topic)
  const idBytes = qos > 0 ? Buffer.of(packetId >> 8, packetId & 0xff) : NOTHING
  const header = [(PUBLISH << 4) | (dup ? 8 : 0) | (qos << 1)]
  let rest = 2 + topic.length + idBytes.length + payload.length
  do {
    header.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest)
    rest >>= 7
  } while (rest > 0)
  const topicLength = Buffer.of(topic.length >> 8, topic.length & 0xff)
  return Buffer.concat([Buffer.from(header), topicLength, topic, idBytes, payload])
}

export function encodePubrel(packetId: number): Buffer {
  return Buffer.of(PUBREL_BYTE, 2, packetId >> 8, packetId & 0xff)
}

/** Whether a string field holds what it may. */
function stringFault(text: Buffer): StringFault | null {
  if (!isUtf8(text)) return 'invalid-utf8'
  return text.includes(0) ? 'nul-in-string' : null
}

/** Reads length-prefixed fields; after the first fault every read is empty. */
class FieldReader {
  fault: FrameFault | null = null
  position: number
  private readonly source: Buffer
  private readonly end: number

  constructor(source: Buffer, position: number, end: number) {
    this.source = source
    this.position = position
    this.end = end
  }

  skip(count: number): boolean {
    if (this.position + count > this.end) this.fault ??= 'malformed-packet'
    else this.position += count
    return this.fault === null
  }

  bytes(): Buffer {
    if (!this.skip(2)) return NUL
    const length = this.source.readUInt16BE(this.position - 2)
    if (!this.skip(length)) return NUL
    return this.source.subarray(this.position - length, this.position)
  }

  /** A topic name or filter. */
  topic({ topicBytesMax, topicLevelsMax }: TopicLimits): void {
    const text = this.bytes()
    this.fault ??= stringFault(text)
    if (this.fault !== null) return
    let levels = 1
    if (text.length <= topicBytesMax) for (const byte of text) if (byte === SLASH) levels++
    if (text.length > topicBytesMax || levels > topicLevelsMax) this.fault = 'topic-too-long'
  }

  string(): string {
    const text = this.bytes()
    if (this.fault === null) this.fault = stringFault(text)
    return this.fault === null ? text.toString('utf8') : ''
  }
}
