/**
 * The spool: what the gateway took in and the cloud has not confirmed. This is its front on the main thread; the disk is
 * the business of a thread of its own.
 *
 * Group commit: records gather while a commit is in flight, the next commit takes them all. There is no timer in the
 * way: the first record of an idle spool is posted in the same turn of the event loop.
 */

import type { Clock, Timer } from '../../shared/clock.ts'
import { assert, BusbarError } from '../../shared/errors.ts'
import { LANES, type Lane, type SequenceRange } from '../../shared/lanes.ts'
import type { Part } from '../../shared/lifecycle.ts'
import { BLOCK_BODY_BYTES_MAX, RECORD_BYTES_MAX } from '../../shared/limits.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { type Boot, instantOf, presentBoot } from './boot.ts'
import { type CommitListener, Group } from './group.ts'
import type { SpoolItem } from './item.ts'
import { ACK_DELAY_MS, COMPACT_AFTER_MS, TEND_PERIOD_MS, TOPIC_BYTES_MAX } from './limits.ts'
import type { StoreFailure, StoreReply } from './messages.ts'
import { isEmpty, NO_ACKS, PendingAcks } from './pending-acks.ts'
import { Ledger, type SpoolStats } from './stats.ts'
import { StoreThread } from './store-thread.ts'

export interface SpoolOptions {
  /** Directory of the spool's files; created when missing. One process at a time. */
  readonly dir: string
  /** Bytes that the spool may take on the disk; at the limit the oldest telemetry is given up. */
  readonly bytesMax: number
  /** Age at which records are given up, milliseconds. */
  readonly ageMaxMs: number
  /** Free bytes of the disk that the spool leaves to others. */
  readonly diskFreeBytesMin: number
  /** Body of a block before compression, bytes; at most BLOCK_BODY_BYTES_MAX. A larger record gets a block of its own. */
  readonly blockBytesMax: number
  /** Bytes accepted but not yet durable beyond which `accepting` is false. */
  readonly pendingBytesMax: number
  /** zstd level; 1 is nearly as small as 3 on telemetry, and the fastest. */
  readonly compressionLevel: number
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** Overrides the operating system's boot id; the clock's monotonic time must then count from that boot. */
  readonly bootId?: string
}

type State = 'new' | 'running' | 'stopping' | 'stopped'

export class Spool implements Part {
  readonly name = 'spool'
  private readonly options: SpoolOptions
  private readonly ledger: Ledger
  private boot: Boot = { id: '', monotonicBaseMs: 0 }
  private thread: StoreThread | null = null
  private state: State = 'new'
  private gathering: Group
  private inFlight: Group | null = null
  private flushScheduled = false
  private waitingBytes = 0
  private wasAccepting = true
  private readonly acks = new PendingAcks()
  private ackTimer: Timer | null = null
  private lastAckMs = 0
  private tendTimer: Timer | null = null
  private tending = false
  private readonly settledFns: (() => void)[] = []
  private readonly appendedFns: ((lane: Lane, nextSequence: number) => void)[] = []
  private settledOnce: (() => void) | null = null
  private readonly acceptingFns: (() => void)[] = []
  private readonly replacedFns: (() => void)[] = []
  private readonly now = () => instantOf(this.options.clock, this.boot)

  constructor(options: SpoolOptions) {
    assert(options.blockBytesMax <= BLOCK_BODY_BYTES_MAX, 'blockBytesMax is at most BLOCK_BODY_BYTES_MAX')
    this.options = options
    this.ledger = new Ledger(options.log)
    this.gathering = new Group(options.blockBytesMax)
  }

  /** @throws BusbarError SPOOL_LOCKED, SPOOL_FORMAT or SPOOL_OPEN_FAILED. */
  async start(): Promise<void> {
    if (this.state !== 'new') return
    this.state = 'running'
    const { clock, random, bootId, dir, bytesMax, ageMaxMs, diskFreeBytesMin, compressionLevel } = this.options
    this.boot = bootId === undefined ? presentBoot(clock, random) : { id: bootId, monotonicBaseMs: 0 }
    this.lastAckMs = clock.monotonicMs()
    this.thread = new StoreThread({
      store: { dir, bytesMax, ageMaxMs, diskFreeBytesMin, compressionLevel, bootId: this.boot.id },
      now: this.now,
      clock,
      random,
      onDown: (reason) => this.threadDown(reason),
      onUp: (reply) => this.threadUp(reply),
    })
    const reply = await this.thread.start()
    if (reply.failure !== null) {
      this.thread.end()
      this.state = 'stopped'
      throw errorOf(reply.failure)
    }
    this.take(reply)
    this.tendTimer = clock.every(TEND_PERIOD_MS, () => this.tend())
  }

  /** Commits what was appended; appends that come later are refused. */
  async stop(deadline: AbortSignal): Promise<void> {
    if (this.state !== 'running' || this.thread === null) return
    this.state = 'stopping'
    this.tendTimer?.cancel()
    this.ackTimer?.cancel()
    const { thread } = this
    const letGo = () => thread.end()
    deadline.addEventListener('abort', letGo, { once: true })
    if (deadline.aborted) letGo()
    if (this.inFlight === null) this.flush()
    while (this.inFlight !== null || !this.gathering.isEmpty) await this.nextSettled()
    await new Promise<void>((resolve) => thread.ask({ kind: 'close' }, [], () => resolve()))
    deadline.removeEventListener('abort', letGo)
    letGo()
    this.state = 'stopped'
  }

  /** Identity of this spool, drawn when it was created; known after `start`. See `onReplaced`. */
  get epoch(): string {
    return this.ledger.epoch
  }

  /** Boot of the operating system. */
  get bootId(): string {
    return this.boot.id
  }

  /**
   * Takes a record; the payload is copied at once. Never throws: `listener` is told in a later turn, once, whether the
   * record is durable.
   */
  append(lane: Lane, topic: string, payload: Uint8Array, listener: CommitListener, token: number): void {
    const { gathering } = this
    const refusal = this.refusalOf(topic, payload)
    if (refusal === null) {
      const before = gathering.bytes
      const monotonicMs = this.options.clock.monotonicMs() + this.boot.monotonicBaseMs
      gathering.add(lane, topic, payload, monotonicMs, this.now)
      gathering.expect(listener, token)
      this.waitingBytes += gathering.bytes - before
      if (this.waitingBytes >= this.options.pendingBytesMax) this.wasAccepting = false
    } else {
      gathering.refuse(listener, token, refusal)
    }
    if (this.inFlight === null && !this.flushScheduled) this.scheduleFlush()
  }

  /** Bytes accepted and not yet durable. */
  get pendingBytes(): number {
    return this.waitingBytes
  }

  /** False when more should not be taken in until `onAccepting` is called; appends work nevertheless. */
  get accepting(): boolean {
    return this.waitingBytes < this.options.pendingBytesMax
  }

  /** Called when `accepting` becomes true again. */
  onAccepting(fn: () => void): void {
    this.acceptingFns.push(fn)
  }

  /** Called after every `committed` of one commit: the time to flush what they wrote. */
  onSettled(fn: () => void): void {
    this.settledFns.push(fn)
  }

  /** Called after a commit for each lane that it added records to; `nextSequence` is the one after the last durable. */
  onAppended(fn: (lane: Lane, nextSequence: number) => void): void {
    this.appendedFns.push(fn)
  }

  /** Called when the database was damaged and a new spool begun: epoch and sequences are others from now on. */
  onReplaced(fn: () => void): void {
    this.replacedFns.push(fn)
  }

  /** What each lane holds on the disk; oldest equals next when it holds nothing. */
  laneState(): Record<Lane, { oldestSequence: number; nextSequence: number }> {
    const of = (lane: Lane) => {
      const { oldestSequence, nextSequence } = this.ledger.lane(lane)
      return { oldestSequence, nextSequence }
    }
    return { priority: of('priority'), telemetry: of('telemetry') }
  }

  /**
   * Blocks and gaps that hold records after `afterSequence`, ascending; none when there is nothing. An item may begin at
   * or before `afterSequence`, because it was merged since: it is sent whole, and the receiver drops what it has.
   * @param limits.bytesMax bytes of block data; at least one item comes, however large.
   * @param limits.throughSequence nothing that begins after it.
   * @throws BusbarError SPOOL_READ_FAILED or SPOOL_WRITE_FAILED, retryable.
   */
  readAfter(
    lane: Lane,
    afterSequence: number,
    limits: { bytesMax: number; throughSequence?: number },
  ): Promise<SpoolItem[]> {
    const read = { lane, afterSequence, bytesMax: limits.bytesMax, throughSequence: limits.throughSequence ?? null }
    return new Promise((resolve, reject) => {
      const { thread } = this
      if (thread === null) return reject(notRunning())
      thread.ask({ kind: 'read', read }, [], (reply) => {
        this.take(reply)
        if (reply.failure === null) resolve(reply.outcome.items ?? [])
        else reject(errorOf(reply.failure))
      })
    })
  }

  /** Lets go of what is durable in the cloud, with the next commit or soon; losing it in a crash is harmless. */
  acknowledge(lane: Lane, ranges: readonly SequenceRange[]): void {
    this.acks.add(lane, ranges)
    this.lastAckMs = this.options.clock.monotonicMs()
    this.scheduleAcks()
  }

  /** State at this moment, without I/O. */
  stats(): SpoolStats {
    return this.ledger.stats()
  }

  private refusalOf(topic: string, payload: Uint8Array): BusbarError | null {
    if (this.state !== 'running') return notRunning()
    if (payload.length <= RECORD_BYTES_MAX && topic.length <= TOPIC_BYTES_MAX) return null
    return new BusbarError(`a record of ${payload.length} bytes is too large, the limit is ${RECORD_BYTES_MAX}`, {
      code: 'RECORD_TOO_LARGE',
      hint: 'Send smaller batches.',
    })
  }

  private scheduleFlush(): void {
    this.flushScheduled = true
    setImmediate(() => {
      this.flushScheduled = false
      if (this.inFlight === null) this.flush()
    })
  }

  private scheduleAcks(): void {
    if (this.ackTimer !== null || this.state !== 'running') return
    this.ackTimer = this.options.clock.after(ACK_DELAY_MS, () => {
      this.ackTimer = null
      if (this.inFlight === null && !this.acks.isEmpty) this.flush()
    })
  }

  /** Posts everything gathered as one commit. */
  private flush(): void {
    const group = this.gathering
    this.gathering = new Group(this.options.blockBytesMax)
    this.inFlight = group
    const blocks = group.finish()
    const { thread } = this
    const acks = thread?.isUp === true ? this.acks.take() : NO_ACKS
    if (thread === null || (blocks.length === 0 && isEmpty(acks))) return this.settle(group, null)
    const transfer = blocks.map(({ body }) => body.buffer)
    thread.ask({ kind: 'commit', blocks, acks }, transfer, (reply) => this.committed(group, reply))
  }

  private committed(group: Group, reply: StoreReply): void {
    this.take(reply)
    this.ledger.setFailing(reply.failure?.message ?? null)
    if (reply.failure === null) {
      this.ledger.commits++
      this.ledger.appendedRecords += group.storedRecords
      for (const lane of LANES) this.acks.add(lane, reply.outcome.acksLeft?.[lane] ?? [])
    }
    // The thread stores the next group while this one's listeners are told.
    this.inFlight = null
    if (!this.gathering.isEmpty) this.flush()
    else if (!this.acks.isEmpty) this.scheduleAcks()
    this.settle(group, reply.failure === null ? null : errorOf(reply.failure))
  }

  private settle(group: Group, error: BusbarError | null): void {
    if (this.inFlight === group) this.inFlight = null
    this.waitingBytes -= group.bytes
    if (!group.isEmpty) {
      group.settle(error)
      for (const fn of this.settledFns) fn()
    }
    if (error === null) {
      for (const lane of group.lanesTouched) {
        const { nextSequence } = this.ledger.lane(lane)
        for (const fn of this.appendedFns) fn(lane, nextSequence)
      }
    }
    if (!this.wasAccepting && this.accepting) {
      this.wasAccepting = true
      for (const fn of this.acceptingFns) fn()
    }
    this.settledOnce?.()
  }

  private nextSettled(): Promise<void> {
    return new Promise((resolve) => {
      this.settledOnce = resolve
    })
  }

  private tend(): void {
    if (this.tending || this.state !== 'running' || this.thread?.isUp !== true) return
    this.tending = true
    const idleMs = this.options.clock.monotonicMs() - this.lastAckMs
    const compact = idleMs >= COMPACT_AFTER_MS && !this.ledger.isEmpty
    this.thread.ask({ kind: 'tend', compact, probe: this.ledger.failing !== null }, [], (reply) => {
      this.tending = false
      this.take(reply)
      this.ledger.setFailing(reply.failure?.message ?? null)
      if (reply.failure === null && reply.outcome.more === true) setImmediate(() => this.tend())
    })
  }

  private take(reply: StoreReply): void {
    if (!this.ledger.take(reply.report)) return
    for (const fn of this.replacedFns) fn()
  }

  private threadDown(reason: string): void {
    this.tending = false
    this.ledger.threadEnded()
    this.ledger.setFailing(`its thread ended: ${reason}`)
  }

  private threadUp(reply: StoreReply): void {
    this.take(reply)
    this.ledger.setFailing(null)
    this.scheduleAcks()
  }
}

function errorOf({ code, message, retryable, hint }: StoreFailure): BusbarError {
  return new BusbarError(message, hint === undefined ? { code, retryable } : { code, retryable, hint })
}

function notRunning(): BusbarError {
  return new BusbarError('the spool is not running', { code: 'SPOOL_NOT_RUNNING', retryable: true })
}
