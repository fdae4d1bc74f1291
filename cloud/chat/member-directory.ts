/**
 * Who is there where nobody logs in: whoever is named can be talked to, and the directory has those who are in some
 * conversation.
 */

import { sql } from 'kysely'
import type { DatabaseHandle } from '../database/database.ts'
import {
  KEY_CALLER,
  type PeopleDirectory,
  type PeopleRequest,
  type Person,
  readPeopleRequest,
} from '../identity/identity.ts'
import { USER_ID_PATTERN } from '../notifications/notifications.ts'
import { type Page, toPage } from '../registry/page.ts'

export class MemberDirectory implements PeopleDirectory {
  private readonly database: DatabaseHandle

  constructor(options: { readonly database: DatabaseHandle }) {
    this.database = options.database
  }

  async list(request: PeopleRequest): Promise<Page<Person>> {
    const { limit, after, search } = readPeopleRequest(request)
    let query = this.database.kysely
      .selectFrom('conversation_members')
      .select('user_id')
      .distinct()
      .orderBy('user_id')
      .limit(limit + 1)
    if (after !== null) query = query.where('user_id', '>', after)
    if (search !== null) query = query.where(sql<boolean>`lower(user_id) like ${search} escape '!'`)
    return toPage(
      await query.execute(),
      limit,
      (row) => row.user_id,
      (row) => ({ id: row.user_id, name: null }),
    )
  }

  async known(ids: readonly string[]): Promise<ReadonlySet<string>> {
    return new Set(ids.filter((id) => USER_ID_PATTERN.test(id) && !id.startsWith(KEY_CALLER)))
  }

  async gone(): Promise<ReadonlySet<string>> {
    return new Set()
  }

  async names(): Promise<ReadonlyMap<string, string>> {
    return new Map()
  }
}
