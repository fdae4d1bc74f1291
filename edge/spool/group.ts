/** The records that one commit makes durable, and who waits for it. */

import { BlockBuilder } from '../../shared/block.ts'
import type { BusbarError } from '../../shared/errors.ts'
import type { Lane } from '../../shared/lanes.ts'
import type { Instant } from './boot-time.ts'
import type { NewBlock } from './messages.ts'

/** Told once for every append, in the order of the appends of a lane. */
export interface CommitListener {
  /**
   * With null the record is on the disk and survives a power cut: acknowledge it. With an error it is not known to be
   * stored, so it must not be acknowledged.
   */
  committed(token: number, error: BusbarError | null): void
}

/** The topic's first mention, the delay and the lengths, bytes at most on top of topic and payload. */
const FRAMING_BYTES_MAX = 32
const FIRST_CAPACITY_BYTES = 1024

interface OpenBlock {
  readonly builder: BlockBuilder
  readonly begun: Instant
}

export class Group {
  /** Bytes that wait for the disk. */
  bytes = 0
  /** Lanes with records in this group. */
  readonly lanesTouched = new Set<Lane>()
  private readonly sealed: NewBlock[] = []
  private readonly open: Record<Lane, OpenBlock | null> = { priority: null, telemetry: null }
  // Parallel arrays: a closure or an object for every record would cost more than the record.
  private readonly listeners: CommitListener[] = []
  private readonly tokens: number[] = []
  private readonly refusals = new Map<number, BusbarError>()
  private readonly blockBytesMax: number

  constructor(blockBytesMax: number) {
    this.blockBytesMax = blockBytesMax
  }

  get isEmpty(): boolean {
    return this.tokens.length === 0
  }

  /** Records that someone waits for. */
  get size(): number {
    return this.tokens.length
  }

  get storedRecords(): number {
    return this.tokens.length - this.refusals.size
  }

  /** Copies the payload. `now` is asked for when a block is begun, `monotonicMs` counts from the boot. */
  add(lane: Lane, topic: string, payload: Uint8Array, monotonicMs: number, now: () => Instant): void {
    const size = topic.length * 3 + payload.length + FRAMING_BYTES_MAX
    let block = this.open[lane]
    if (block !== null && block.builder.byteLength + size > this.blockBytesMax) {
      this.seal(lane, block)
      block = null
    }
    if (block === null) {
      const capacity = this.sealed.length > 0 ? this.blockBytesMax : FIRST_CAPACITY_BYTES
      block = { builder: new BlockBuilder(Math.max(capacity, size)), begun: now() }
      this.open[lane] = block
      this.lanesTouched.add(lane)
    }
    block.builder.add(topic, monotonicMs - block.begun.monotonicMs, payload)
    this.bytes += size
  }

  /** Notes who waits for the record just added. */
  expect(listener: CommitListener, token: number): void {
    this.listeners.push(listener)
    this.tokens.push(token)
  }

  /** Notes a record that is not stored, to be told in its turn. */
  refuse(listener: CommitListener, token: number, error: BusbarError): void {
    this.refusals.set(this.tokens.length, error)
    this.expect(listener, token)
  }

  /** The blocks, finished; nothing may be added afterwards. */
  finish(): readonly NewBlock[] {
    for (const lane of this.lanesTouched) {
      const block = this.open[lane]
      if (block !== null) this.seal(lane, block)
    }
    return this.sealed
  }

  settle(error: BusbarError | null): void {
    const { listeners, tokens, refusals } = this
    for (let i = 0; i < tokens.length; i++) {
      const outcome = refusals.size > 0 ? (refusals.get(i) ?? error) : error
      ;(listeners[i] as CommitListener).committed(tokens[i] as number, outcome)
    }
  }

  private seal(lane: Lane, { builder, begun }: OpenBlock): void {
    this.sealed.push({ lane, recordCount: builder.recordCount, body: builder.finish(), ...begun })
    this.open[lane] = null
  }
}
