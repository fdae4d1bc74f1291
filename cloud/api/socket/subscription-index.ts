/**
 * Which clients want an event: found by the ways to ask for it, without looking at any other client.
 *
 * Clients that may see every site are found and sent to. Those that may see some are kept apart, where each event is held
 * against what they may see: so they cost nothing while there are none.
 */

import type { Channel } from './channels.ts'
import type { LiveClient } from './live-client.ts'
import type { Sight } from './visibility.ts'

/** Where a subscription is found. */
export interface Placement {
  /** Whether each event must be held against what the caller may see. */
  readonly guarded: boolean
  readonly places: readonly string[]
}

/** What an event is looked up by. */
export interface Wanted extends Sight {
  readonly keys: readonly string[]
}

/** A place of those who want everything at a site that they may see. */
export function placeOfSite(siteId: number): string {
  return `at/${siteId}`
}

/** A place of those who want everything, what they asked for included. */
export function placeOfAsker(callerId: string): string {
  return `asked/${callerId}`
}

/** Clients by `channel/place`, with how many of their subscriptions are the same. */
type Places = Map<string, Map<LiveClient, number>>

export class SubscriptionIndex {
  private readonly open: Places = new Map()
  private readonly guarded: Places = new Map()
  private count = 0

  /** Subscriptions of all clients that events are looked up for. */
  get size(): number {
    return this.count
  }

  add(channel: Channel, { guarded, places }: Placement, client: LiveClient): void {
    const known = guarded ? this.guarded : this.open
    for (const each of places) {
      const place = `${channel}/${each}`
      let clients = known.get(place)
      if (clients === undefined) {
        clients = new Map()
        known.set(place, clients)
      }
      clients.set(client, (clients.get(client) ?? 0) + 1)
    }
    this.count++
  }

  /** With the placement that it was added with. */
  remove(channel: Channel, { guarded, places }: Placement, client: LiveClient): void {
    const known = guarded ? this.guarded : this.open
    for (const each of places) {
      const place = `${channel}/${each}`
      const clients = known.get(place)
      const same = clients?.get(client)
      if (clients === undefined || same === undefined) continue
      if (same > 1) clients.set(client, same - 1)
      else clients.delete(client)
      if (clients.size === 0) known.delete(place)
    }
    this.count--
  }

  /** Calls `visit` with each group of clients that want an event; a client may be in several. */
  wanting(channel: Channel, event: Wanted, visit: (clients: Iterable<LiveClient>, guarded: boolean) => void): void {
    for (const key of event.keys) {
      const clients = this.open.get(`${channel}/${key}`)
      if (clients !== undefined) visit(clients.keys(), false)
    }
    if (this.guarded.size === 0) return
    for (const place of guardedPlacesOf(event)) {
      const clients = this.guarded.get(`${channel}/${place}`)
      if (clients !== undefined) visit(clients.keys(), true)
    }
  }
}

function guardedPlacesOf({ keys, sites, askedBy }: Wanted): string[] {
  const places = [...keys, ...(sites ?? []).map(placeOfSite)]
  return askedBy === null ? places : [...places, placeOfAsker(askedBy)]
}
