/**
 * Messages found by what they say, the newest first. A search looks at so many messages and no more, so that one for what is rare
 * holds nobody up: the page may then have fewer than were asked for, and `next` goes on from there.
 */

import { type Kysely, sql } from 'kysely'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenTexts } from '../database/given-rows.ts'
import type { Database } from '../database/schema.ts'
import { patternContaining } from '../database/stored-text.ts'
import { readTimeKey } from '../registry/newest-first.ts'
import { encodeCursor, type Page, readPageRequest } from '../registry/page.ts'
import { chatInvalid } from './errors.ts'
import { MESSAGE_ID_PATTERN, type Message } from './message.ts'
import type { SearchRequest } from './message-options.ts'
import { searchText, toMessage } from './message-rows.ts'

/** Messages looked at in one statement, and statements of one search. */
const LOOKED_AT_ONCE = 5_000
const STEPS_MAX = 10
export const SEARCH_CHARS_MAX = 200

/** Where a search has come to. */
interface Place {
  readonly atMs: number
  readonly id: string
}

interface Looked {
  readonly found: readonly Place[]
  /** Null when there is nothing older. */
  readonly last: Place | null
}

export class MessageSearch {
  private readonly database: DatabaseHandle
  private readonly lookedAtOnce: number

  constructor(database: DatabaseHandle, lookedAtOnce = LOOKED_AT_ONCE) {
    this.database = database
    this.lookedAtOnce = lookedAtOnce
  }

  /** @throws ChatError INVALID_INPUT; InvalidRegistrationError for limit and cursor. */
  async find(conversationIds: readonly string[], request: SearchRequest): Promise<Page<Message>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    const pattern = patternOf(request.text)
    let place = after === null ? null : readTimeKey(after, request.cursor, MESSAGE_ID_PATTERN)
    const found: Place[] = []
    for (let step = 0; step < STEPS_MAX && conversationIds.length > 0; step++) {
      if (step > 0) await nextTurn()
      const looked = await this.look(conversationIds, pattern, place, limit + 1 - found.length)
      found.push(...looked.found)
      if (found.length > limit) break
      place = looked.last
      if (place === null) break
    }
    const shown = found.slice(0, limit)
    const last = found.length > limit ? (shown.at(-1) ?? null) : conversationIds.length > 0 ? place : null
    const items = await this.load(shown, this.database.kysely)
    return { items, next: last === null ? null : encodeCursor(`${last.atMs}/${last.id}`) }
  }

  private async look(
    conversationIds: readonly string[],
    pattern: string,
    before: Place | null,
    wanted: number,
  ): Promise<Looked> {
    const { kysely, dialect } = this.database
    const older =
      before === null
        ? sql``
        : sql`and sent_at_ms <= ${before.atMs} and (sent_at_ms < ${before.atMs} or id < ${before.id})`
    const { rows } = await sql<Place & { readonly found: number; readonly looked: number }>`
      with looked as materialized (
        select id, sent_at_ms, search_text from chat_messages
        where conversation_id in ${givenTexts(dialect, conversationIds)} ${older}
        order by sent_at_ms desc, id desc limit ${this.lookedAtOnce}
      ), found as (
        select id, sent_at_ms from looked where search_text like ${pattern} escape '!'
        order by sent_at_ms desc, id desc limit ${wanted}
      ), last as (
        select id, sent_at_ms from looked order by sent_at_ms, id limit 1
      )
      select id, sent_at_ms as "atMs", 1 as found, 0 as looked from found
      union all
      select id, sent_at_ms as "atMs", 0 as found, (select count(*) from looked) as looked from last`.execute(kysely)
    const last = rows.find(({ found }) => found === 0)
    return {
      // A union keeps no order that it promises.
      found: rows.filter(({ found }) => found === 1).sort(newestFirst),
      last: last === undefined || Number(last.looked) < this.lookedAtOnce ? null : last,
    }
  }

  private async load(places: readonly Place[], kysely: Kysely<Database>): Promise<Message[]> {
    const ids = places.map(({ id }) => id)
    const rows = await kysely
      .selectFrom('chat_messages')
      .selectAll()
      .where(sql<boolean>`id in ${givenTexts(this.database.dialect, ids)}`)
      .execute()
    const byId = new Map(rows.map((row) => [row.id, toMessage(row)]))
    return ids.flatMap((id) => byId.get(id) ?? [])
  }
}

/** Anywhere in the text, whatever it holds. */
function patternOf(text: string): string {
  const isGood = text.length <= SEARCH_CHARS_MAX && text.trim() !== '' && text.isWellFormed() && !text.includes('\0')
  if (!isGood) {
    throw chatInvalid([
      {
        pointer: '/text',
        value: text.slice(0, SEARCH_CHARS_MAX).toWellFormed(),
        remedy: `1 to ${SEARCH_CHARS_MAX} characters`,
      },
    ])
  }
  return patternContaining(searchText(text))
}

function newestFirst(one: Place, other: Place): number {
  return other.atMs - one.atMs || (one.id < other.id ? 1 : -1)
}
