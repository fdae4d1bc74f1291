/** The subscriptions of each durable session as they were journalled, so that what is no news is not written again. */

import type { ObservedTopics } from '../observed-topics.ts'

export interface NotedSubscription {
  /** JSON text of the subscription's options. */
  readonly options: string
  /** Whether it queues messages: with QoS 1 and 2. */
  readonly queues: boolean
}

export class NotedSubscriptions {
  private readonly observed: ObservedTopics
  private readonly sessions = new Map<string, Map<string, NotedSubscription>>()

  /** @param observed told of every filter that queues messages for someone away. */
  constructor(observed: ObservedTopics) {
    this.observed = observed
  }

  /** Remembers a subscription, or with null that it is gone; false when that is no news. */
  note(clientId: string, filter: string, subscription: NotedSubscription | null): boolean {
    const filters = this.sessions.get(clientId) ?? new Map<string, NotedSubscription>()
    const known = filters.get(filter)
    if (subscription === null) filters.delete(filter)
    else filters.set(filter, subscription)
    if (filters.size === 0) this.sessions.delete(clientId)
    else this.sessions.set(clientId, filters)
    const [before, after] = [known?.queues ?? false, subscription?.queues ?? false]
    if (after && !before) this.observed.add(filter)
    if (before && !after) this.observed.remove(filter)
    return known?.options !== subscription?.options
  }

  /** The session is over. */
  forget(clientId: string): void {
    for (const filter of [...(this.sessions.get(clientId)?.keys() ?? [])]) this.note(clientId, filter, null)
  }
}
