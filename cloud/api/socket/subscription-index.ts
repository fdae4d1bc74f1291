/** Which clients want an event: found by the ways to ask for it, without looking at any other client. */

import type { Channel } from './channels.ts'
import type { LiveClient } from './live-client.ts'

export class SubscriptionIndex {
  /** Clients by `channel/filter key`, with how many of their subscriptions are the same. */
  private readonly clients = new Map<string, Map<LiveClient, number>>()
  private count = 0

  /** Subscriptions of all clients that events are looked up for. */
  get size(): number {
    return this.count
  }

  add(channel: Channel, key: string, client: LiveClient): void {
    const place = `${channel}/${key}`
    let clients = this.clients.get(place)
    if (clients === undefined) {
      clients = new Map()
      this.clients.set(place, clients)
    }
    clients.set(client, (clients.get(client) ?? 0) + 1)
    this.count++
  }

  remove(channel: Channel, key: string, client: LiveClient): void {
    const place = `${channel}/${key}`
    const clients = this.clients.get(place)
    const same = clients?.get(client)
    if (clients === undefined || same === undefined) return
    this.count--
    if (same > 1) clients.set(client, same - 1)
    else clients.delete(client)
    if (clients.size === 0) this.clients.delete(place)
  }

  /** Calls `visit` with each group of clients that want an event of these keys; a client may be in several. */
  wanting(channel: Channel, keys: readonly string[], visit: (clients: Iterable<LiveClient>) => void): void {
    for (const key of keys) {
      const clients = this.clients.get(`${channel}/${key}`)
      if (clients !== undefined) visit(clients.keys())
    }
  }
}
