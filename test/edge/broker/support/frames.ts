/** MQTT 3.1.1 frames by hand, sound ones and others. */

export function field(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value as string)
  return Buffer.concat([Buffer.of(bytes.length >> 8, bytes.length & 0xff), bytes])
}

export function remainingLength(length: number): Buffer {
  const bytes: number[] = []
  let rest = length
  do {
    const byte = rest % 128
    rest = Math.floor(rest / 128)
    bytes.push(rest > 0 ? byte | 0x80 : byte)
  } while (rest > 0)
  return Buffer.from(bytes)
}

export function frame(first: number, ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  return Buffer.concat([Buffer.of(first), remainingLength(body.length), body])
}

export interface ConnectFields {
  readonly clientId?: string | Uint8Array
  readonly clean?: boolean
  readonly keepalive?: number
  readonly username?: string | Uint8Array
  readonly password?: string
  readonly will?: { readonly topic: string | Uint8Array; readonly payload: string; readonly qos?: number }
}

export function connectFrame(fields: ConnectFields = {}): Buffer {
  const { clientId = 'raw', clean = true, keepalive = 0, username, password, will } = fields
  let flags = clean ? 0x02 : 0
  if (will !== undefined) flags |= 0x04 | ((will.qos ?? 0) << 3)
  if (username !== undefined) flags |= 0x80
  if (password !== undefined) flags |= 0x40
  return frame(
    0x10,
    field('MQTT'),
    Buffer.of(4, flags, keepalive >> 8, keepalive & 0xff),
    field(clientId),
    ...(will === undefined ? [] : [field(will.topic), field(will.payload)]),
    ...(username === undefined ? [] : [field(username)]),
    ...(password === undefined ? [] : [field(password)]),
  )
}

export function publishFrame(
  topic: string | Uint8Array,
  payload: string | Uint8Array,
  options: { readonly qos?: 0 | 1 | 2; readonly id?: number; readonly retain?: boolean; readonly dup?: boolean } = {},
): Buffer {
  const { qos = 1, id = 1, retain = false, dup = false } = options
  const first = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0)
  const packetId = qos > 0 ? Buffer.of(id >> 8, id & 0xff) : Buffer.alloc(0)
  return frame(first, field(topic), packetId, Buffer.from(payload as string))
}

export function subscribeFrame(id: number, filter: string | Uint8Array, qos: 0 | 1 | 2 = 0): Buffer {
  return frame(0x82, Buffer.of(id >> 8, id & 0xff), field(filter), Buffer.of(qos))
}

export function pubrelFrame(id: number): Buffer {
  return Buffer.of(0x62, 2, id >> 8, id & 0xff)
}

export function unsubscribeFrame(id: number, filter: string): Buffer {
  return frame(0xa2, Buffer.of(id >> 8, id & 0xff), field(filter))
}

/** PUBACK, PUBREC or PUBCOMP. */
export function ackFrame(kind: 'puback' | 'pubrec' | 'pubcomp', id: number): Buffer {
  return Buffer.of({ puback: 0x40, pubrec: 0x50, pubcomp: 0x70 }[kind], 2, id >> 8, id & 0xff)
}

/** What a broker publishes. */
export function readPublish(bytes: Buffer): { first: number; topic: string; id: number; payload: string } {
  const body = bytes.indexOf('sites/') - 2
  const topicEnd = body + 2 + bytes.readUInt16BE(body)
  const first = bytes[0] as number
  const withId = (first & 0x06) !== 0
  return {
    first,
    topic: bytes.toString('utf8', body + 2, topicEnd),
    id: withId ? bytes.readUInt16BE(topicEnd) : 0,
    payload: bytes.toString('utf8', topicEnd + (withId ? 2 : 0)),
  }
}

export const CONNACK_ACCEPTED = Buffer.of(0x20, 2, 0, 0)
export const DISCONNECT = Buffer.of(0xe0, 0)
export const PINGREQ = Buffer.of(0xc0, 0)

/** Splits what a broker sent; every frame it sends here is short. */
export function framesOf(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = []
  for (let at = 0; at + 1 < bytes.length; ) {
    let length = 0
    let scale = 1
    let header = 1
    for (;;) {
      const byte = bytes[at + header++] ?? 0
      length += (byte & 0x7f) * scale
      if (byte < 0x80) break
      scale *= 128
    }
    frames.push(bytes.subarray(at, at + header + length))
    at += header + length
  }
  return frames
}

/** The packet identifiers of the PUBACKs among `bytes`, in order. */
export function pubackIds(bytes: Buffer): number[] {
  return framesOf(bytes)
    .filter((each) => each[0] === 0x40)
    .map((each) => each.readUInt16BE(2))
}
