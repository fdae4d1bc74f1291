/**
 * The few MQTT 3.1.1 packets of the load generator. PUBLISH frames are encoded once into a ring and sent again and
 * again with their marks overwritten, which is what makes the generator cheaper than any broker.
 */

/** Places in a payload that are overwritten before every send; each is a run of the same character in the template. */
const COUNTER_DIGITS = 10
const TIME_DIGITS = 16
/** `{"mark":"0000000000","sentAtUs":"0000000000000000",…}`: fixed width, so frames keep their length. */
export const MARK_TEMPLATE = `"mark":"${'0'.repeat(COUNTER_DIGITS)}","sentAtUs":"${'0'.repeat(TIME_DIGITS)}",`
const MARK_FIELD = Buffer.from('"mark":"')
const TIME_FIELD = Buffer.from('"sentAtUs":"')

export interface ConnectOptions {
  readonly clientId: string
  readonly username?: string
  readonly password?: string
  /** Default true. */
  readonly clean?: boolean
  /** Default 0: none. */
  readonly keepAliveSeconds?: number
}

export function connectPacket(options: ConnectOptions): Buffer {
  const { clientId, username, password, clean = true, keepAliveSeconds = 0 } = options
  const flags = (clean ? 0x02 : 0) | (username === undefined ? 0 : 0x80) | (password === undefined ? 0 : 0x40)
  const fields = [clientId, username, password].filter((field) => field !== undefined).map(mqttString)
  const keepAlive = [keepAliveSeconds >> 8, keepAliveSeconds & 0xff]
  const body = Buffer.concat([mqttString('MQTT'), Buffer.from([4, flags, ...keepAlive]), ...fields])
  return Buffer.concat([Buffer.from([0x10]), remainingLength(body.length), body])
}

/** PUBLISH, QoS 1, with its packet identifier left zero. */
export function publishPacket(
  topic: string,
  payload: Uint8Array,
): { frame: Buffer; identifierAt: number; payloadAt: number } {
  const name = mqttString(topic)
  const header = Buffer.concat([Buffer.from([0x32]), remainingLength(name.length + 2 + payload.length)])
  const identifierAt = header.length + name.length
  return { frame: Buffer.concat([header, name, Buffer.alloc(2), payload]), identifierAt, payloadAt: identifierAt + 2 }
}

/** `slots` PUBLISH frames back to back with packet identifiers 1 to `slots`. */
export interface FrameRing {
  readonly bytes: Buffer
  /** Where each frame begins, and at index `slots` where the last one ends. */
  readonly starts: Uint32Array
  readonly slots: number
  readonly payloadBytesMean: number
  /** Sets or clears the DUP flag of a frame. */
  setDup(slot: number, dup: boolean): void
  /** Writes the counter and the time of sending (Unix microseconds) into a frame whose payload has the marks. */
  mark(slot: number, counter: number, sentAtUs: number): void
}

/** The payloads are used in turn; with `marked` each must begin with `{` and gets the mark fields. */
export function buildFrameRing(options: {
  topic: string
  payloads: readonly string[]
  slots: number
  marked: boolean
}): FrameRing {
  const { topic, payloads, slots, marked } = options
  const starts = new Uint32Array(slots + 1)
  const counterAt = new Uint32Array(slots)
  const timeAt = new Uint32Array(slots)
  const frames: Buffer[] = []
  let length = 0
  let payloadBytes = 0
  for (let slot = 0; slot < slots; slot++) {
    const payload = payloads[slot % payloads.length] ?? '{}'
    const text = marked ? `{${MARK_TEMPLATE}${payload.slice(1)}` : payload
    const { frame, identifierAt, payloadAt } = publishPacket(topic, Buffer.from(text))
    frame.writeUInt16BE(slot + 1, identifierAt)
    if (marked) {
      counterAt[slot] = length + frame.indexOf(MARK_FIELD, payloadAt) + MARK_FIELD.length
      timeAt[slot] = length + frame.indexOf(TIME_FIELD, payloadAt) + TIME_FIELD.length
    }
    starts[slot] = length
    payloadBytes += frame.length - payloadAt
    length += frame.length
    frames.push(frame)
  }
  starts[slots] = length
  const bytes = Buffer.concat(frames)
  return {
    bytes,
    starts,
    slots,
    payloadBytesMean: payloadBytes / slots,
    setDup(slot, dup) {
      bytes[starts[slot] ?? 0] = dup ? 0x3a : 0x32
    },
    mark(slot, counter, sentAtUs) {
      writeDigits(bytes, counterAt[slot] ?? 0, COUNTER_DIGITS, counter)
      writeDigits(bytes, timeAt[slot] ?? 0, TIME_DIGITS, sentAtUs)
    },
  }
}

function writeDigits(bytes: Buffer, at: number, digits: number, value: number): void {
  let rest = value
  for (let i = at + digits - 1; i >= at; i--) {
    const tenth = Math.floor(rest / 10)
    bytes[i] = 0x30 + (rest - tenth * 10)
    rest = tenth
  }
}

export function mqttString(text: string): Buffer {
  const bytes = Buffer.from(text)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(bytes.length)
  return Buffer.concat([length, bytes])
}

export function remainingLength(length: number): Buffer {
  const bytes: number[] = []
  let rest = length
  do {
    const low = rest % 128
    rest = Math.floor(rest / 128)
    bytes.push(rest > 0 ? low | 0x80 : low)
  } while (rest > 0)
  return Buffer.from(bytes)
}
