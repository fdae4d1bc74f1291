/**
 * Who is in a conversation, as a core remembers it for a short while: for what is not worth asking the database each time, such
 * as who is typing. What it says may be some seconds old.
 */

import { BriefMemory } from '../../shared/brief-memory.ts'
import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { ConversationStore } from './conversation-store.ts'
import type { Membership } from './membership.ts'

/** How long members are remembered, milliseconds. */
const LIFE_MS = 30_000
/** Conversations remembered. */
const CONVERSATIONS_MAX = 5_000

export interface RostersOptions {
  readonly database: DatabaseHandle
  readonly membership: Pick<Membership, 'visibleTo'>
  readonly clock: Clock
}

export class Rosters {
  private readonly options: RostersOptions
  private readonly store: ConversationStore
  private readonly memory: BriefMemory<readonly string[] | null>

  constructor(options: RostersOptions) {
    this.options = options
    this.store = new ConversationStore(options.database)
    this.memory = new BriefMemory<readonly string[] | null>({
      read: (conversationId) => this.read(conversationId),
      keptMs: LIFE_MS,
      entriesMax: CONVERSATIONS_MAX,
      // Made-up ones would push out real ones.
      isKept: (members) => members !== null,
      clock: options.clock,
    })
  }

  /**
   * Ids of the members who may see what it is about; null when there is no such conversation.
   * @throws BusbarError DATABASE_UNAVAILABLE
   */
  of(conversationId: string): Promise<readonly string[] | null> {
    return this.memory.of(conversationId)
  }

  /** Its members have changed. */
  forget(conversationId: string): void {
    this.memory.forget(conversationId)
  }

  private async read(conversationId: string): Promise<readonly string[] | null> {
    const { database, membership } = this.options
    const conversation = await this.store.get(conversationId)
    if (conversation === null) return null
    const members = await this.store.membersOf(conversationId, database.kysely)
    const ids = members.map(({ userId }) => userId)
    const seeing = await membership.visibleTo(conversation.subject, ids, database.kysely)
    return ids.filter((id) => seeing.has(id))
  }
}
