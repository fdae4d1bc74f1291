/**
 * The people whom somebody may talk to: users who are active and share a site with them. Nobody learns of others that they
 * are there.
 */

import type { Kysely } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import { patternContaining } from '../database/stored-text.ts'
import { InvalidRegistrationError } from '../registry/errors.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'
import type { SiteScope } from '../registry/site-scope.ts'
import { API_KEY_ID, KEY_CALLER, sharedGrants } from './api-key.ts'
import { ApiKeyStore, type StoredApiKey } from './api-key-store.ts'
import { PeopleStore } from './people-store.ts'
import { sitesWith } from './roles.ts'

/** Longest text to look for, UTF-16 code units. */
export const PEOPLE_SEARCH_CHARS_MAX = 100

/** Who looks for people, or adds them somewhere. */
export interface Asker {
  readonly userId: string
  /** The sites at which they are viewers. */
  readonly sees: SiteScope
}

/** As others see them. */
export interface Person {
  readonly id: string
  readonly name: string | null
}

export interface PeopleRequest extends PageRequest {
  /** Part of an id or a name, in capitals or not. */
  readonly search?: string | undefined
}

/** `People` is one; where nobody logs in there is another. */
export interface PeopleDirectory {
  /** By id. @throws InvalidRegistrationError for limit, cursor and search. */
  list(request: PeopleRequest, asker: Asker): Promise<Page<Person>>
  /** Those of `ids`, people and API keys, whom the asker may talk to. */
  known(ids: readonly string[], asker: Asker): Promise<ReadonlySet<string>>
  /** Those of `ids` who cannot be there any more: users who are not active, keys that are over. */
  gone(ids: readonly string[], kysely?: Kysely<Database>): Promise<ReadonlySet<string>>
  /** By id; who has no name is left out. */
  names(ids: readonly string[], kysely?: Kysely<Database>): Promise<ReadonlyMap<string, string>>
}

export class People implements PeopleDirectory {
  private readonly clock: Clock
  private readonly store: PeopleStore
  private readonly keys: ApiKeyStore

  constructor(options: { readonly database: DatabaseHandle; readonly clock: Clock }) {
    this.clock = options.clock
    this.store = new PeopleStore(options.database)
    this.keys = new ApiKeyStore(options.database)
  }

  async list(request: PeopleRequest, asker: Asker): Promise<Page<Person>> {
    const { limit, after, search } = readPeopleRequest(request)
    return toPage(await this.store.page({ limit, after, search, sees: asker.sees }), limit, ({ id }) => id, person)
  }

  async known(ids: readonly string[], { sees }: Asker): Promise<ReadonlySet<string>> {
    const { userIds, keyIds } = split(ids)
    const known = new Set(userIds.length === 0 ? [] : await this.store.known(userIds, sees))
    if (keyIds.length === 0) return known
    for (const stored of (await this.keys.stored(keyIds)).values()) {
      if (this.isGood(stored) && shares(stored, sees)) known.add(`${KEY_CALLER}${stored.key.id}`)
    }
    return known
  }

  async gone(ids: readonly string[], kysely?: Kysely<Database>): Promise<ReadonlySet<string>> {
    const { userIds, keyIds } = split(ids)
    const there = await this.store.there(userIds, keyIds, this.clock.wallMs(), kysely)
    return new Set(ids.filter((id) => !there.has(id)))
  }

  async names(ids: readonly string[], kysely?: Kysely<Database>): Promise<ReadonlyMap<string, string>> {
    const { userIds, keyIds } = split(ids)
    return await this.store.names(userIds, keyIds, kysely)
  }

  private isGood({ key, makerActive }: StoredApiKey): boolean {
    const isOver = key.expiresAtMs !== null && key.expiresAtMs <= this.clock.wallMs()
    return makerActive && key.revokedAtMs === null && !isOver
  }
}

/** @throws InvalidRegistrationError */
export function readPeopleRequest(request: PeopleRequest): {
  readonly limit: number
  readonly after: string | null
  /** For `like` with the escape character `!`, in small letters; null for everybody. */
  readonly search: string | null
} {
  const { search = '' } = request
  if (search.length > PEOPLE_SEARCH_CHARS_MAX || !search.isWellFormed() || search.includes('\0')) {
    const remedy = `text of at most ${PEOPLE_SEARCH_CHARS_MAX} characters`
    throw new InvalidRegistrationError([{ field: 'search', value: search, remedy }])
  }
  const wanted = search.trim().toLowerCase()
  const pattern = patternContaining(wanted)
  return { ...readPageRequest<string>(request, 'string'), search: wanted === '' ? null : pattern }
}

function person({ id, name }: Person): Person {
  return { id, name }
}

function split(ids: readonly string[]): { readonly userIds: string[]; readonly keyIds: string[] } {
  const keys = ids.filter((id) => id.startsWith(KEY_CALLER)).map((id) => id.slice(KEY_CALLER.length))
  return { userIds: ids.filter((id) => !id.startsWith(KEY_CALLER)), keyIds: keys.filter((id) => API_KEY_ID.test(id)) }
}

function shares({ key, makerGrants }: StoredApiKey, sees: SiteScope): boolean {
  const own = sitesWith(sharedGrants(key.grants, makerGrants), 'viewer')
  if (sees === 'all' || own === 'all') return true
  return [...own].some((siteId) => sees.has(siteId))
}
