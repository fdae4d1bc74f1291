/**
 * The spool: what the gateway took in and the cloud has not confirmed. This is its front on the main thread; the disk is
 * the business of a thread of its own. Records gather while a commit is in flight, the next commit takes them all.
 */

import { assert, type BusbarError } from '../../shared/errors.ts'
import type { Lane, SequenceRange } from '../../shared/lanes.ts'
import type { Part } from '../../shared/lifecycle.ts'
import { BLOCK_BODY_BYTES_MAX } from '../../shared/limits.ts'
import { type Boot, instantOf, presentBoot } from './boot.ts'
import { CommitSchedule } from './commit-schedule.ts'
import { errorOf, notRunning, refusalOf } from './failures.ts'
import { type CommitListener, Group } from './group.ts'
import { Hook } from './hook.ts'
import type { SpoolItem } from './item.ts'
import type { LaneRanges, StoreReply } from './messages.ts'
import type { SpoolOptions } from './options.ts'
import { isEmpty, NO_ACKS, PendingAcks } from './pending-acks.ts'
import { RecentBlocks } from './recent-blocks.ts'
import { Ledger, type SpoolChange, type SpoolStats } from './stats.ts'
import { StoreThread } from './store-thread.ts'
import { Upkeep } from './upkeep.ts'

export type { CommitListener, SpoolOptions, SpoolStats }

export class Spool implements Part {
  readonly name = 'spool'
  private readonly options: SpoolOptions
  private readonly ledger: Ledger
  private boot: Boot = { id: '', monotonicBaseMs: 0 }
  private thread: StoreThread | null = null
  private isRunning = false
  private starting: Promise<void> | null = null
  private stopping: Promise<void> | null = null
  private gathering: Group
  private inFlight: Group | null = null
  private readonly schedule: CommitSchedule
  private readonly recent: RecentBlocks
  private waitingBytes = 0
  private wasAccepting = true
  private readonly acks = new PendingAcks()
  private readonly upkeep: Upkeep
  private readonly settled = new Hook()
  private readonly appended = new Hook<[lane: Lane, nextSequence: number]>()
  private settledOnce = Promise.withResolvers<void>()
  private readonly acceptingAgain = new Hook()
  private readonly replaced = new Hook()
  private readonly now = () => instantOf(this.options.clock, this.boot)

  constructor(options: SpoolOptions) {
    assert(options.blockBytesMax <= BLOCK_BODY_BYTES_MAX, 'blockBytesMax is at most BLOCK_BODY_BYTES_MAX')
    this.options = options
    this.schedule = new CommitSchedule(options.clock, () => {
      if (this.inFlight === null) this.flush()
    })
    this.recent = new RecentBlocks(options.clock)
    this.ledger = new Ledger(options.log)
    this.gathering = new Group(options.blockBytesMax)
    this.upkeep = new Upkeep(options.clock, (compact, finished) => this.tend(compact, finished))
  }

  /** @throws BusbarError SPOOL_LOCKED, SPOOL_FORMAT or SPOOL_OPEN_FAILED. */
  start(): Promise<void> {
    this.starting ??= this.open()
    return this.starting
  }

  /** Commits what was appended; appends that come later are refused. */
  async stop(deadline: AbortSignal): Promise<void> {
    if (this.starting === null) return
    this.stopping ??= this.close(deadline)
    await this.stopping
  }

  /** Identity of this spool, drawn when it was created; known after `start`. See `onReplaced`. */
  get epoch(): string {
    return this.ledger.epoch
  }

  /** Boot of the operating system; known after `start`. */
  get bootId(): string {
    return this.boot.id
  }

  /**
   * Takes a record; the payload is copied at once. Never throws: `listener` is told once, in a later turn.
   */
  append(lane: Lane, topic: string, payload: Uint8Array, listener: CommitListener, token: number): void {
    const { gathering } = this
    const refusal = this.isRunning ? refusalOf(topic, payload) : notRunning()
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
    this.commitWhenDue()
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
    this.acceptingAgain.add(fn)
  }

  /** Called after every `committed` of one commit. */
  onSettled(fn: () => void): void {
    this.settled.add(fn)
  }

  /** Called after a commit for each lane that it added records to; `nextSequence` is the one after the last durable. */
  onAppended(fn: (lane: Lane, nextSequence: number) => void): void {
    this.appended.add(fn)
  }

  /** Called when the database was damaged and a new spool begun: epoch and sequences are others from now on. */
  onReplaced(fn: () => void): void {
    this.replaced.add(fn)
  }

  /** What each lane holds on the disk; oldest equals next when it holds nothing. */
  laneState(): Record<Lane, { oldestSequence: number; nextSequence: number }> {
    return { priority: this.ledger.held('priority'), telemetry: this.ledger.held('telemetry') }
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
    const recent = this.recent.after(lane, afterSequence, limits)
    if (recent !== null) return Promise.resolve(recent)
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
    this.recent.acknowledged(lane, ranges)
    this.upkeep.drained()
    if (this.isRunning) this.schedule.considerAcks()
  }

  /** State at this moment, without I/O. */
  stats(): SpoolStats {
    return this.ledger.stats()
  }

  private async open(): Promise<void> {
    const { clock, random, bootId, dir, bytesMax, ageMaxMs, diskFreeBytesMin, compressionLevel } = this.options
    this.boot = bootId === undefined ? presentBoot(clock, random) : { id: bootId, monotonicBaseMs: 0 }
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
      throw errorOf(reply.failure)
    }
    this.isRunning = true
    this.take(reply)
    this.upkeep.start()
  }

  private async close(deadline: AbortSignal): Promise<void> {
    const letGo = () => this.thread?.end()
    deadline.addEventListener('abort', letGo, { once: true })
    if (deadline.aborted) letGo()
    // A start that fails has told whoever called it.
    await this.starting?.catch(() => undefined)
    this.isRunning = false
    this.upkeep.stop()
    this.schedule.begun()
    if (this.inFlight === null) this.flush()
    while (this.inFlight !== null || !this.gathering.isEmpty) await this.settledOnce.promise
    await new Promise<void>((resolve) => this.thread?.ask({ kind: 'close' }, [], () => resolve()))
    deadline.removeEventListener('abort', letGo)
    letGo()
  }

  private commitWhenDue(): void {
    if (this.inFlight === null) this.schedule.consider(this.gathering.size, this.gathering.bytes)
  }

  /** Posts everything gathered as one commit. */
  private flush(): void {
    this.schedule.begun()
    const group = this.gathering
    this.gathering = new Group(this.options.blockBytesMax)
    this.inFlight = group
    const blocks = group.finish()
    const acks = this.thread?.isUp === true ? this.acks.take() : NO_ACKS
    if (blocks.length === 0 && isEmpty(acks)) {
      this.settle(group, null)
      return
    }
    const transfer = blocks.map(({ body }) => body.buffer)
    this.thread?.ask({ kind: 'commit', blocks, acks }, transfer, (reply) => this.committed(group, acks, reply))
  }

  private committed(group: Group, acks: LaneRanges, reply: StoreReply): void {
    const change = this.take(reply)
    this.ledger.setFailing(reply.failure?.message ?? null)
    if (reply.failure === null) {
      this.ledger.commits++
      this.ledger.appendedRecords += group.storedRecords
      this.acks.addAll(reply.outcome.acksLeft ?? NO_ACKS)
      this.recent.stored(reply.outcome.items ?? [])
    } else if (change !== 'replaced') {
      // The cloud will not acknowledge them again as long as the link holds.
      this.acks.addAll(acks)
    }
    // The thread stores the next group while this one's listeners are told.
    this.inFlight = null
    if (!group.isEmpty) this.schedule.done(group.size, this.gathering.size)
    if (!this.gathering.isEmpty) this.commitWhenDue()
    else if (!this.acks.isEmpty) this.schedule.considerAcks()
    this.settle(group, reply.failure === null ? null : errorOf(reply.failure))
  }

  private settle(group: Group, error: BusbarError | null): void {
    if (this.inFlight === group) this.inFlight = null
    this.waitingBytes -= group.bytes
    if (!group.isEmpty) {
      group.settle(error)
      this.settled.call()
    }
    if (error === null) {
      for (const lane of group.lanesTouched) this.appended.call(lane, this.ledger.lane(lane).nextSequence)
    }
    if (!this.wasAccepting && this.accepting) {
      this.wasAccepting = true
      this.acceptingAgain.call()
    }
    this.settledOnce.resolve()
    this.settledOnce = Promise.withResolvers()
  }

  private tend(compact: boolean, finished: (more: boolean) => void): void {
    const probe = this.ledger.failing !== null
    this.thread?.ask({ kind: 'tend', compact: compact && !this.ledger.isEmpty, probe }, [], (reply) => {
      this.take(reply)
      this.ledger.setFailing(reply.failure?.message ?? null)
      finished(reply.failure === null && reply.outcome.more === true)
    })
  }

  private take(reply: StoreReply): SpoolChange {
    const change = this.ledger.take(reply.report)
    if (change !== null) this.recent.clear()
    if (change === 'replaced') this.replaced.call()
    return change
  }

  private threadDown(reason: string): void {
    this.ledger.threadEnded()
    this.ledger.setFailing(`its thread ended: ${reason}`)
  }

  private threadUp(reply: StoreReply): void {
    this.take(reply)
    this.ledger.setFailing(null)
    if (this.isRunning) this.schedule.considerAcks()
  }
}
