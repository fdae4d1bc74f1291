/**
 * Who is in a conversation, as a core remembers it for a short while: for what is not worth asking the database each time, such
 * as who is typing. What it says may be some seconds old.
 */

import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { ConversationStore } from './conversation-store.ts'
import type { Membership } from './membership.ts'

/** How long members are remembered, milliseconds. */
const LIFE_MS = 30_000
/** Conversations remembered; of more the one that was asked for longest ago is forgotten. */
const CONVERSATIONS_MAX = 5_000

export interface RostersOptions {
  readonly database: DatabaseHandle
  readonly membership: Pick<Membership, 'visibleTo'>
  readonly clock: Clock
}

export interface RosterStats {
  readonly remembered: number
  /** Questions since the start, and those of them that the database had to answer. */
  readonly asked: number
  readonly loaded: number
}

interface Roster {
  readonly loadedAtMs: number
  /** Of a load that fails nothing is remembered. */
  readonly members: Promise<readonly string[] | null>
}

export class Rosters {
  private readonly options: RostersOptions
  private readonly store: ConversationStore
  /** The one that was asked for last is the last. */
  private readonly rosters = new Map<string, Roster>()
  private readonly counts = { asked: 0, loaded: 0 }

  constructor(options: RostersOptions) {
    this.options = options
    this.store = new ConversationStore(options.database)
  }

  /** Ids of the members who may see what it is about; null when there is no such conversation. @throws BusbarError DATABASE_UNAVAILABLE */
  async of(conversationId: string): Promise<readonly string[] | null> {
    this.counts.asked++
    const known = this.rosters.get(conversationId)
    const nowMs = this.options.clock.monotonicMs()
    const roster = known !== undefined && nowMs - known.loadedAtMs < LIFE_MS ? known : this.load(conversationId, nowMs)
    this.rosters.delete(conversationId)
    this.rosters.set(conversationId, roster)
    if (this.rosters.size > CONVERSATIONS_MAX) this.rosters.delete(this.rosters.keys().next().value as string)
    return await roster.members
  }

  /** Its members have changed. Who is waiting for an answer may get the one of before. */
  forget(conversationId: string): void {
    this.rosters.delete(conversationId)
  }

  stats(): RosterStats {
    return { remembered: this.rosters.size, ...this.counts }
  }

  private load(conversationId: string, nowMs: number): Roster {
    this.counts.loaded++
    const members = this.ask(conversationId)
    const roster: Roster = { loadedAtMs: nowMs, members }
    members.catch(() => {
      if (this.rosters.get(conversationId) === roster) this.rosters.delete(conversationId)
    })
    return roster
  }

  private async ask(conversationId: string): Promise<readonly string[] | null> {
    const { database, membership } = this.options
    const conversation = await this.store.get(conversationId)
    if (conversation === null) return null
    const members = (await this.store.members([conversationId], database.kysely)).get(conversationId) ?? []
    const ids = members.map(({ userId }) => userId)
    const seeing = await membership.visibleTo(conversation.subject, ids, database.kysely)
    return ids.filter((id) => seeing.has(id))
  }
}
