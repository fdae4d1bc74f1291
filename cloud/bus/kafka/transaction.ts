/**
 * One transaction: records of several partitions that are there together or not at all, for whoever reads only what is
 * committed. It is tried once as a whole; where a part of it does not work, everything is aborted and nothing is visible.
 *
 * It is aborted by drawing the producer id anew, not by ending it: so the brokers know the new epoch, and what still comes
 * of the old one is refused.
 */

import type { Clock } from '../../../shared/clock.ts'
import { sleep } from '../../../shared/clock.ts'
import type { BrokerClient, ProducerIdentity } from './broker-client.ts'
import { type Attempt, attempt, LEADER_NOT_AVAILABLE } from './produce-attempt.ts'
import type { ProducerHealth } from './producer-health.ts'
import { frameBatch, type SealedRecords } from './record-batch.ts'
import type { Route, TopicRoutes } from './topic-routes.ts'
import type { TransactionClient } from './transaction-client.ts'

/** The coordinator still writes the end of the transaction before. */
const CONCURRENT_TRANSACTIONS = 51
const CONCURRENT_WAIT_MS = 5
const CONCURRENT_TRIES_MAX = 400
/** A partition is asked so often within one transaction while its broker says that it cannot now. */
const MOVED_TRIES_MAX = 5
const MOVED_WAIT_MS = 50
const COMMIT_WAIT_MS = 100
/** Invalid state of the transaction; it was aborted. */
const INVALID_TXN_STATE = 48
const SEQUENCE_MAX = 2 ** 30

/** What goes to one partition, in its order. */
export interface PartitionBatches {
  readonly route: Route
  readonly partition: number
  readonly batches: readonly SealedRecords[]
}

/** Of a transaction that did not come about: the partition and batch that are to blame, where it is one. */
export interface FailedTransaction extends Attempt {
  readonly at: { readonly route: Route; readonly partition: number; readonly batch: SealedRecords } | null
  /** Its end was asked for and nobody said whether it came about. */
  readonly isUnknown?: boolean
}

export interface TransactionRunOptions {
  readonly client: BrokerClient
  readonly transactions: TransactionClient
  readonly answers: ProducerHealth
  readonly routes: TopicRoutes
  readonly aborted: AbortSignal
  readonly clock: Clock
}

export class TransactionRun {
  private readonly options: TransactionRunOptions
  private identity: ProducerIdentity | null = null
  private sequences = new Map<string, number>()

  constructor(options: TransactionRunOptions) {
    this.options = options
  }

  /** Null when it is committed. @param giveUpAtMs monotonic; until then an end that nobody confirms is asked for again. */
  async run(partitions: readonly PartitionBatches[], giveUpAtMs: number): Promise<FailedTransaction | null> {
    const failed = (await this.prepare(partitions)) ?? (await this.produceAll(partitions))
    if (failed !== null) {
      if (this.identity !== null) await this.renew()
      return failed
    }
    return this.commit(giveUpAtMs)
  }

  private async prepare(partitions: readonly PartitionBatches[]): Promise<FailedTransaction | null> {
    if (this.identity === null) {
      const failed = await this.renew()
      if (failed !== null) return failed
    }
    const topics = [...Map.groupBy(partitions, ({ route }) => route.topic)].map(([name, ofTopic]) => {
      return { name, partitions: ofTopic.map(({ partition }) => partition) }
    })
    return this.coordinate((identity) => this.options.transactions.addPartitions(identity, topics))
  }

  /** Draws the producer id anew, which aborts what is open. */
  private async renew(): Promise<FailedTransaction | null> {
    this.identity = null
    let drawn: ProducerIdentity | null = null
    const failed = await this.askCoordinator(async () => {
      drawn = await this.options.transactions.begin()
    })
    this.identity = drawn
    this.sequences = new Map()
    return failed
  }

  private coordinate(ask: (identity: ProducerIdentity) => Promise<void>): Promise<FailedTransaction | null> {
    const { identity } = this
    return identity === null ? Promise.resolve(null) : this.askCoordinator(() => ask(identity))
  }

  private async askCoordinator(ask: () => Promise<void>): Promise<FailedTransaction | null> {
    const { answers, transactions, clock, aborted } = this.options
    for (let tries = 0; ; tries++) {
      const answer = await attempt(answers, () => ask().then(() => 0))
      if (answer.outcome === 'stored') return null
      const isBusy = answer.errorCode === CONCURRENT_TRANSACTIONS && tries < CONCURRENT_TRIES_MAX
      if (isBusy && !aborted.aborted) {
        await sleep(clock, CONCURRENT_WAIT_MS, aborted)
        continue
      }
      transactions.forgetCoordinator()
      return { ...answer, at: null }
    }
  }

  private async produceAll(partitions: readonly PartitionBatches[]): Promise<FailedTransaction | null> {
    const leaders = Map.groupBy(partitions, ({ route, partition }) => route.leaders[partition])
    const results = await Promise.all([...leaders.values()].map((ofLeader) => this.produceInTurn(ofLeader)))
    // What no retry mends is told before what may pass.
    return results.find((result) => result?.outcome === 'unfit') ?? results.find((result) => result !== null) ?? null
  }

  /**
   * One after the other: a broker asks the coordinator whether a partition belongs to the transaction, forgets the question
   * when the next one about the same transaction comes, and answers NOT_ENOUGH_REPLICAS.
   */
  private async produceInTurn(partitions: readonly PartitionBatches[]): Promise<FailedTransaction | null> {
    for (const each of partitions) {
      const failed = await this.producePartition(each)
      if (failed !== null) return failed
    }
    return null
  }

  private async producePartition({ route, partition, batches }: PartitionBatches): Promise<FailedTransaction | null> {
    for (const batch of batches) {
      const answer = await this.produce(route, partition, batch)
      if (answer.outcome !== 'stored') return { ...answer, at: { route, partition, batch } }
    }
    return null
  }

  private async produce(route: Route, partition: number, batch: SealedRecords): Promise<Attempt> {
    const { answers, client, routes, transactions, clock, aborted } = this.options
    const identity = this.identity as ProducerIdentity
    const id = `${route.topic}/${partition}`
    const sequence = this.sequences.get(id) ?? 0
    const framed = frameBatch(batch, { ...identity, sequence, isTransactional: true })
    for (let tries = 1; ; tries++) {
      const answer = await attempt(answers, async () => {
        if (route.doubtful.has(partition)) await routes.learn(route)
        const leader = route.leaders[partition] ?? -1
        if (leader < 0) return LEADER_NOT_AVAILABLE
        return client.produce(leader, route.topic, partition, framed, transactions.transactionalId)
      })
      if (answer.outcome === 'stored') this.sequences.set(id, sequence + batch.count)
      else if (answer.outcome !== 'unfit') route.doubtful.add(partition)
      if (answer.outcome !== 'moved' || tries >= MOVED_TRIES_MAX || aborted.aborted) return answer
      await sleep(clock, MOVED_WAIT_MS, aborted)
    }
  }

  /** Asks until it is known: a transaction whose end was asked for may have come about without our hearing of it. */
  private async commit(giveUpAtMs: number): Promise<FailedTransaction | null> {
    const { transactions, answers, clock, aborted } = this.options
    const identity = this.identity as ProducerIdentity
    for (;;) {
      const answer = await attempt(answers, () => transactions.end(identity, true).then(() => 0))
      if (answer.outcome === 'stored') {
        if ([...this.sequences.values()].some((sequence) => sequence > SEQUENCE_MAX)) this.identity = null
        return null
      }
      transactions.forgetCoordinator()
      const isAborted = answer.outcome === 'reset' || answer.errorCode === INVALID_TXN_STATE
      const isOver = isAborted || answer.outcome === 'refused'
      if (isOver || aborted.aborted || clock.monotonicMs() > giveUpAtMs) {
        this.identity = null
        return { ...answer, at: null, isUnknown: !isOver }
      }
      await sleep(clock, COMMIT_WAIT_MS, aborted)
    }
  }
}
