/** MQTT frames as someone sends them who wants to break the broker: sound ones, changed at random from a seed. */

import type { Random } from '../../../../shared/random.ts'
import {
  ackFrame,
  connectFrame,
  frame,
  PINGREQ,
  publishFrame,
  pubrelFrame,
  remainingLength,
  subscribeFrame,
  unsubscribeFrame,
} from './frames.ts'

export class HostileFrames {
  private readonly random: Random
  private readonly topics: readonly string[]

  /** @param topics that it tries to publish on and to watch. */
  constructor(random: Random, topics: readonly string[]) {
    this.random = random
    this.topics = topics
  }

  /** One to four frames, most of them no longer sound. */
  sequence(): Buffer {
    return Buffer.concat(Array.from({ length: 1 + this.upTo(4) }, () => this.mutated(this.sound())))
  }

  private sound(): Buffer {
    const topic = this.pick(this.topics)
    const id = this.upTo(65_536)
    const payload = this.random.bytes(this.upTo(300))
    const makers: (() => Buffer)[] = [
      () => connectFrame({ clientId: topic, clean: this.upTo(2) === 0 }),
      () => connectFrame({ username: topic, password: 'guess', will: { topic, payload: '{}', qos: this.upTo(3) } }),
      () => publishFrame(topic, payload, { qos: this.upTo(3) as 0 | 1 | 2, id, retain: this.upTo(3) === 0 }),
      () => publishFrame(topic, payload, { qos: 2, id: 1 + this.upTo(3) }),
      () => subscribeFrame(id, topic, this.upTo(3) as 0 | 1 | 2),
      () => unsubscribeFrame(id, topic),
      () => pubrelFrame(id),
      () => ackFrame(this.pick(['puback', 'pubrec', 'pubcomp'] as const), id),
      () => PINGREQ,
      () => frame(this.upTo(256), payload),
      () => Buffer.from(this.random.bytes(this.upTo(100))),
    ]
    return this.pick(makers)()
  }

  private mutated(sound: Buffer): Buffer {
    const bytes = Buffer.from(sound)
    const at = this.upTo(Math.max(1, bytes.length))
    switch (this.upTo(8)) {
      case 0:
        return bytes
      case 1:
        for (let i = 0; i <= this.upTo(4) && bytes.length > 0; i++) bytes[this.upTo(bytes.length)] = this.upTo(256)
        return bytes
      case 2:
        return bytes.subarray(0, at)
      case 3:
        return Buffer.concat([bytes.subarray(0, at), this.random.bytes(this.upTo(50)), bytes.subarray(at)])
      case 4: {
        // A length that is not that of what follows, up to far more than any frame may have.
        const length = this.pick([0, 1, this.upTo(200), 5_000, 300_000, 268_435_455])
        return Buffer.concat([bytes.subarray(0, 1), remainingLength(length), bytes.subarray(2)])
      }
      case 5:
        return Buffer.concat([bytes.subarray(0, 1), Buffer.of(0xff, 0xff, 0xff, 0xff, 0x7f), bytes.subarray(2)])
      case 6:
        if (bytes.length > 0) bytes[0] = ((bytes[0] as number) & 0xf0) | this.upTo(16)
        return bytes
      default:
        // The length of a field inside.
        if (bytes.length > 4) bytes.writeUInt16BE(this.upTo(65_536), 2 + this.upTo(Math.min(12, bytes.length - 3)))
        return bytes
    }
  }

  private upTo(max: number): number {
    return Math.floor(this.random.fraction() * max)
  }

  private pick<T>(from: readonly T[]): T {
    return from[this.upTo(from.length)] as T
  }
}
