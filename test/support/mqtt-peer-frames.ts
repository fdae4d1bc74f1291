/** The MQTT 3.1.1 packets of the light client in mqtt-peer.ts, both ways. */

import { mqttString, remainingLength } from './mqtt-load-frames.ts'

export const PACKET = {
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  PUBREC: 5,
  PUBREL: 6,
  PUBCOMP: 7,
  SUBACK: 9,
  PINGRESP: 13,
} as const

export type Qos = 0 | 1 | 2

export interface Packet {
  readonly type: number
  /** The low half of the first byte. */
  readonly flags: number
  /** What follows the remaining length. */
  readonly body: Buffer
}

export interface ReceivedPublish {
  readonly topic: string
  readonly qos: Qos
  /** 0 with QoS 0. */
  readonly packetId: number
  readonly payload: Buffer
}

/** Takes a stream of bytes apart into packets. */
export class PacketReader {
  private rest: Buffer = Buffer.alloc(0)

  /** The packets that are complete now. */
  read(chunk: Buffer): Packet[] {
    const packets: Packet[] = []
    const bytes = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk])
    let at = 0
    for (;;) {
      const header = headerAt(bytes, at)
      if (header === null || header.end > bytes.length) break
      const first = bytes[at] ?? 0
      packets.push({ type: first >> 4, flags: first & 0x0f, body: bytes.subarray(header.bodyAt, header.end) })
      at = header.end
    }
    this.rest = Buffer.from(bytes.subarray(at))
    return packets
  }

  /** Forgets a packet that a lost connection left in part. */
  clear(): void {
    this.rest = Buffer.alloc(0)
  }
}

/** Null while the length is not there in full. */
function headerAt(bytes: Buffer, at: number): { bodyAt: number; end: number } | null {
  let length = 0
  for (let i = 1; i <= 4; i++) {
    const byte = bytes[at + i]
    if (byte === undefined) return null
    length += (byte & 0x7f) * 128 ** (i - 1)
    if (byte < 0x80) return { bodyAt: at + i + 1, end: at + i + 1 + length }
  }
  throw new Error('a remaining length has more than four bytes')
}

export function readPublish({ flags, body }: Packet): ReceivedPublish {
  const topicEnd = 2 + body.readUInt16BE(0)
  const qos = ((flags >> 1) & 3) as Qos
  const payloadAt = qos === 0 ? topicEnd : topicEnd + 2
  return {
    topic: body.toString('utf8', 2, topicEnd),
    qos,
    packetId: qos === 0 ? 0 : body.readUInt16BE(topicEnd),
    payload: body.subarray(payloadAt),
  }
}

export function publishFrame(
  topic: string,
  payload: Uint8Array,
  options: { qos: Qos; packetId: number; dup: boolean },
): Buffer {
  const { qos, packetId, dup } = options
  const name = mqttString(topic)
  const id = qos === 0 ? [] : [identifier(packetId)]
  const body = Buffer.concat([name, ...id, payload])
  return Buffer.concat([Buffer.from([0x30 | (dup ? 8 : 0) | (qos << 1)]), remainingLength(body.length), body])
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP. */
export function acknowledgement(type: number, packetId: number): Buffer {
  const reserved = type === PACKET.PUBREL ? 2 : 0
  return Buffer.from([(type << 4) | reserved, 2, packetId >> 8, packetId & 0xff])
}

export function subscribeFrame(packetId: number, filters: readonly string[], qos: Qos): Buffer {
  const body = Buffer.concat([
    identifier(packetId),
    ...filters.flatMap((each) => [mqttString(each), Buffer.from([qos])]),
  ])
  return Buffer.concat([Buffer.from([0x82]), remainingLength(body.length), body])
}

export const PINGREQ = Buffer.from([0xc0, 0])
export const DISCONNECT = Buffer.from([0xe0, 0])

function identifier(packetId: number): Buffer {
  return Buffer.from([packetId >> 8, packetId & 0xff])
}
