/**
 * A world around the uplink's state machine: a spool, a link and a cloud, all in memory, that do only what they are
 * told, so that a schedule of steps decides what happens. Breaking the protocol throws.
 */

import { lastSequence, type SpoolItem } from '../../edge/spool/item.ts'
import { creditCost, type FeedName, head } from '../../edge/uplink/feed.ts'
import type { FeedRead } from '../../edge/uplink/flow.ts'
import { transition } from '../../edge/uplink/session.ts'
import {
  initialState,
  type SessionEffect,
  type SessionInput,
  type SessionRules,
  type SessionState,
} from '../../edge/uplink/session-state.ts'
import { type SessionResponse, Lane as WireLane } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import { LANES, type Lane, type SequenceRange } from '../../shared/lanes.ts'
import { addRange, containsRange, missingFrom } from '../../shared/sequence-ranges.ts'
import { seededRandom } from './seeded-random.ts'
import { SimulatedCertificates } from './simulated-certificates.ts'
import { SimulatedCommands } from './simulated-commands.ts'
import { gapInsteadOf, itemsAfter, plainBlock } from './spool-items.ts'

export const SIMULATED_RULES: SessionRules = {
  order: 'live-first',
  backfillShare: 0.3,
  readAheadBytes: 2_000,
  outstandingItemsMax: 16,
  burstBytes: 600,
  backoff: { baseMs: 100, capMs: 2_000 },
  connectTimeoutMs: 1_000,
  ackTimeoutMs: 5_000,
  backlogReportMs: 500,
  stopTimeoutMs: 1_000,
  certificateTimeoutMs: 3_000,
  takesCommands: true,
  random: seededRandom(1),
}

type Read = FeedRead & { readonly session: number }

export class SimulatedUplink {
  now = 0
  state: SessionState
  readonly rules: SessionRules
  readonly items: Record<Lane, SpoolItem[]> = { priority: [], telemetry: [] }
  readonly next: Record<Lane, number> = { priority: 1_000, telemetry: 5_000 }
  reads: Read[] = []
  /** Sent and not yet taken by the cloud. */
  up: SpoolItem[] = []
  /** Taken by the cloud and not acknowledged. */
  taken: SpoolItem[] = []
  readonly received: Record<Lane, SequenceRange[]> = { priority: [], telemetry: [] }
  readonly commands = new SimulatedCommands()
  readonly certificates = new SimulatedCertificates()
  /** Whether the machine believes it has a stream: between the dial and the end. */
  linked = false
  welcomed = false
  strictOrder = false
  credit = 0
  readonly sentInSession: { readonly item: SpoolItem; readonly backfill: boolean }[] = []
  readonly effectsSeen: SessionEffect['kind'][] = []
  private readonly lastSent: Record<FeedName, number> = { priority: 0, live: 0, backfill: 0 }
  private awaitingWritable = false

  constructor(rules: Partial<SessionRules> = {}) {
    this.rules = { ...SIMULATED_RULES, ...rules }
    this.state = initialState(0)
  }

  input(input: SessionInput): readonly SessionEffect[] {
    const { state, effects } = transition(this.state, input, this.now, this.rules)
    this.state = state
    for (const effect of effects) this.execute(effect)
    const telemetrySent = effects.some((effect) => effect.kind === 'send' && effect.item.lane === 'telemetry')
    const { flow } = this
    if (telemetrySent && flow !== null && head(flow.feeds.priority) !== null)
      throw new Error('telemetry overtook priority')
    if (flow !== null && flow.outstanding.length > this.rules.outstandingItemsMax)
      throw new Error('too many outstanding')
    return effects
  }

  get flow() {
    return this.state.name === 'streaming' || this.state.name === 'stopping' ? this.state.flow : null
  }

  get isDrained(): boolean {
    return LANES.every((lane) => this.items[lane].length === 0)
  }

  append(lane: Lane, bytes: number, recordCount = 1): void {
    const firstSequence = this.next[lane]
    this.next[lane] += recordCount
    this.items[lane].push(plainBlock(lane, firstSequence, recordCount, bytes))
    this.input({ kind: 'appended', lane, nextSequence: this.next[lane] })
  }

  /** The oldest item of a lane becomes a gap, as at a limit of the spool. */
  evict(lane: Lane): void {
    const oldest = this.items[lane][0]
    if (oldest?.kind === 'block') this.items[lane][0] = gapInsteadOf(oldest)
  }

  /** A damaged spool is replaced by an empty one, of which the cloud knows nothing. */
  replaceSpool(): void {
    for (const lane of LANES) {
      this.items[lane] = []
      this.received[lane] = []
      this.next[lane] += 10_000
    }
    this.reads = []
    this.input({ kind: 'spoolReplaced' })
  }

  advance(ms: number): void {
    this.now += ms
    this.input({ kind: 'tick' })
  }

  dialled(): void {
    if (this.state.name !== 'dialling') return
    const bounds = (lane: Lane) => ({
      oldestSequence: this.items[lane][0]?.firstSequence ?? this.next[lane],
      nextSequence: this.next[lane],
    })
    this.input({ kind: 'dialled', lanes: { priority: bounds('priority'), telemetry: bounds('telemetry') } })
  }

  welcome(creditBytes: number): void {
    if (this.state.name !== 'awaitingWelcome') return
    this.welcomed = true
    this.credit = creditBytes
    const cursors = LANES.map((lane) => ({ lane: wire(lane), received: this.received[lane] }))
    const { strictOrder } = this
    this.message({ $case: 'welcome', value: { cursors, creditBytes, wallClockMs: 0, strictOrder } })
  }

  message(message: SessionResponse['message']): void {
    this.input({ kind: 'message', response: { message } })
  }

  /** @param timedOut a ping of the gateway got no answer in time. */
  cut(timedOut = false): void {
    if (!this.linked) return
    this.drop()
    this.input({ kind: 'streamEnded', timedOut })
  }

  /** The cloud hands over what it has no receipt for, and so many new commands. */
  handOver(fresh: number): void {
    if (this.welcomed) this.message(this.commands.handOver(fresh))
  }

  /** The inbox answers, in this session or after it. */
  answerCommands(index: number, refuseEach = 0): void {
    const answer = this.commands.answer(index, refuseEach)
    if (answer === null) return
    const isOfThisSession = answer.session === this.state.session
    const effects = this.input({ kind: 'commandsTaken', ...answer })
    if (!isOfThisSession && effects.length > 0) throw new Error('receipts of an older session in a newer one')
  }

  writable(): void {
    if (!this.awaitingWritable || !this.linked) return
    this.awaitingWritable = false
    this.input({ kind: 'writable' })
  }

  /** Completes a read, any of those in flight. */
  completeRead(index: number, failing = false): void {
    const [read] = this.reads.splice(index % Math.max(1, this.reads.length), 1)
    if (read === undefined) return
    const { lane, feed, session, afterSequence, throughSequence, bytesMax } = read
    if (failing) {
      this.input({ kind: 'readFailed', session, feed })
      return
    }
    const items = itemsAfter(this.items[lane], afterSequence, throughSequence, bytesMax)
    this.input({ kind: 'itemsRead', session, feed, items })
  }

  /** The cloud takes the next item off the link. */
  take(): void {
    const item = this.up.shift()
    if (item === undefined) return
    const { firstSequence: first } = item
    this.received[item.lane] = addRange(this.received[item.lane], { first, last: lastSequence(item) })
    this.taken.push(item)
  }

  /** The cloud acknowledges one of what it took. */
  acknowledge(index: number): void {
    const [item] = this.taken.splice(index % Math.max(1, this.taken.length), 1)
    if (item === undefined || !this.welcomed) return
    const range = { first: item.firstSequence, last: lastSequence(item) }
    this.message({ $case: 'ack', value: { lane: wire(item.lane), ranges: [range] } })
    this.grant(creditCost(item))
  }

  grant(bytes: number): void {
    if (!this.welcomed) return
    this.credit += bytes
    this.message({ $case: 'credit', value: { bytes } })
  }

  /** Everything goes well from now on, until nothing is left or `steps` are over. */
  settle(steps = 5_000): void {
    for (let step = 0; step < steps && !(this.isDrained && this.commands.isSettled); step++) {
      this.dialled()
      this.welcome(1_000)
      this.handOver(0)
      this.answerCommands(0)
      if (this.welcomed && this.credit <= 0 && this.taken.length + this.up.length === 0) this.grant(1_000)
      this.completeRead(0)
      this.writable()
      this.take()
      this.acknowledge(0)
      if (step % 10 === 9) this.advance(300)
    }
  }

  private execute(effect: SessionEffect): void {
    this.effectsSeen.push(effect.kind)
    this.certificates.note(effect)
    switch (effect.kind) {
      case 'dial':
        if (this.linked) throw new Error('dialled twice')
        this.linked = true
        break
      case 'send':
        this.sent(effect.item, effect.backfill)
        break
      case 'read':
        this.reads.push(effect)
        break
      case 'acknowledge':
        this.deleteAcknowledged(effect.lane, effect.ranges)
        break
      case 'takeCommands':
        this.commands.take(effect, this.state.session)
        break
      case 'cancelCommands':
        for (const id of effect.commandIds) this.commands.cancelled.add(id)
        break
      case 'receipts':
        if (!this.welcomed) throw new Error('receipts outside of a session')
        this.commands.receive(effect)
        break
      case 'close':
        this.drop()
        break
    }
  }

  private sent(item: SpoolItem, backfill: boolean): void {
    if (!this.welcomed) throw new Error('sent before Welcome')
    const cost = creditCost(item)
    const alone = this.up.length + this.taken.length === 0
    if (cost > 0 && cost > this.credit && !(alone && this.credit > 0))
      throw new Error(`credit ${this.credit} exceeded by ${cost}`)
    this.credit -= cost
    const strict = this.strictOrder || this.rules.order === 'strict'
    const feed = item.lane === 'priority' ? 'priority' : backfill && !strict ? 'backfill' : 'live'
    const last = lastSequence(item)
    if (last <= this.lastSent[feed]) throw new Error(`${feed} went back from ${this.lastSent[feed]} to ${last}`)
    this.lastSent[feed] = last
    this.up.push(item)
    this.sentInSession.push({ item, backfill })
    this.awaitingWritable = true
  }

  private deleteAcknowledged(lane: Lane, ranges: readonly SequenceRange[]): void {
    for (const range of ranges) {
      const missing = missingFrom(this.received[lane], range)
      if (missing.length > 0) throw new Error(`${lane} ${JSON.stringify(missing)} acknowledged, but the cloud lacks it`)
    }
    this.items[lane] = this.items[lane].filter(
      (item) => !containsRange(ranges, { first: item.firstSequence, last: lastSequence(item) }),
    )
  }

  /** What was on the link is gone; what the cloud took it has. */
  private drop(): void {
    this.linked = false
    this.welcomed = false
    this.awaitingWritable = false
    this.up = []
    this.taken = []
    this.sentInSession.length = 0
    this.commands.forgetSession()
    for (const feed of ['priority', 'live', 'backfill'] as const) this.lastSent[feed] = 0
  }
}

export function wire(lane: Lane): WireLane {
  return lane === 'priority' ? WireLane.PRIORITY : WireLane.TELEMETRY
}
