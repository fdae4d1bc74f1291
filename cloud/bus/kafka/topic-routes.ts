/** Which partitions a topic has, who leads each, and its queues. */

import { BrokenCircuitError } from 'cockatiel'
import { type Clock, sleep } from '../../../shared/clock.ts'
import { BusbarError } from '../../../shared/errors.ts'
import type { Random } from '../../../shared/random.ts'
import { type BackoffPolicy, fullJitterMs } from '../../../shared/retry.ts'
import { busStopped, publishTimeout } from '../topic-errors.ts'
import type { BrokerClient } from './broker-client.ts'
import type { PartitionQueue } from './partition-queue.ts'
import { describeFailure } from './produce-error.ts'

export const RETRY_BACKOFF: BackoffPolicy = { baseMs: 50, capMs: 1_000 }
/** Age at which the number of a topic's partitions is asked for again, in the background. */
const ROUTE_AGE_MAX_MS = 60_000
/** A topic that was just made is not known to every broker at once. */
const NEW_TOPIC_PATIENCE_MS = 300

export interface Route {
  readonly topic: string
  readonly queues: PartitionQueue[]
  /** Node by partition; -1 while an election runs. */
  leaders: number[]
  learntMs: number
  /** Partitions whose leader did not answer as one; the others go on meanwhile. */
  doubtful: Set<number>
  learning: Promise<void> | null
}

export interface TopicRoutesOptions {
  readonly client: BrokerClient
  readonly throughBreaker: (ask: () => Promise<void>) => Promise<void>
  readonly newQueue: (topic: string, partition: number) => PartitionQueue
  readonly onAway: (failure: string) => void
  readonly publishTimeoutMs: number
  readonly aborted: AbortSignal
  readonly clock: Clock
  readonly random: Random
}

export class TopicRoutes {
  private readonly options: TopicRoutesOptions
  private readonly routes = new Map<string, Promise<Route>>()

  constructor(options: TopicRoutesOptions) {
    this.options = options
  }

  /**
   * The route of a topic, asked for until somebody answers.
   * @throws BusbarError TOPIC_MISSING, PUBLISH_TIMEOUT or BUS_STOPPED
   */
  routeOf(topic: string): Promise<Route> {
    let route = this.routes.get(topic)
    if (route === undefined) {
      route = this.find(topic)
      this.routes.set(topic, route)
      route.catch(() => this.routes.delete(topic))
    }
    return route
  }

  /** Asks once, however many do so at the same time. */
  learn(route: Route): Promise<void> {
    route.learning ??= (async () => {
      try {
        route.leaders = await this.options.client.leaders(route.topic)
        route.doubtful = new Set()
        route.learntMs = this.options.clock.monotonicMs()
        for (let partition = route.queues.length; partition < route.leaders.length; partition++) {
          route.queues.push(this.options.newQueue(route.topic, partition))
        }
      } finally {
        route.learning = null
      }
    })()
    return route.learning
  }

  /** Notices partitions that were added. */
  refreshOld(route: Route): void {
    const nowMs = this.options.clock.monotonicMs()
    if (nowMs - route.learntMs < ROUTE_AGE_MAX_MS) return
    route.learntMs = nowMs
    // Whoever leads by then, the leaders known so far say so when they are asked.
    this.learn(route).catch(() => {})
  }

  /** Resolves when no queue holds anything that is on its way. */
  async idle(): Promise<void> {
    for (const route of await Promise.allSettled(this.routes.values())) {
      if (route.status === 'fulfilled') await Promise.all(route.value.queues.map((queue) => queue.idle()))
    }
  }

  private async find(topic: string): Promise<Route> {
    const { clock, random, throughBreaker, aborted, publishTimeoutMs } = this.options
    const startedMs = clock.monotonicMs()
    const route: Route = { topic, queues: [], leaders: [], learntMs: 0, doubtful: new Set(), learning: null }
    let failure = 'no broker answers'
    for (let attempt = 0; ; attempt++) {
      try {
        await throughBreaker(() => this.learn(route))
        return route
      } catch (error) {
        const waitedMs = clock.monotonicMs() - startedMs
        const missing = error instanceof BusbarError && error.code === 'TOPIC_MISSING'
        if (missing && waitedMs > NEW_TOPIC_PATIENCE_MS) throw error
        if (!missing && !(error instanceof BrokenCircuitError)) {
          failure = describeFailure(error)
          this.options.onAway(failure)
        }
        if (aborted.aborted) throw busStopped()
        if (waitedMs > publishTimeoutMs) throw publishTimeout(topic, failure)
        await sleep(clock, fullJitterMs(attempt, RETRY_BACKOFF, random), aborted)
      }
    }
  }
}
