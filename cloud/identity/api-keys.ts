/**
 * API keys: how programs log in. A key has rights of its own, but at no time more than the person who made it has, so that
 * taking a role from somebody, or disabling them, takes it from what they left behind in programs too.
 */

import { BriefMemory } from '../../shared/brief-memory.ts'
import type { Clock } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { type InvalidField, InvalidRegistrationError } from '../registry/errors.ts'
import type { Page, PageRequest } from '../registry/page.ts'
import {
  API_KEY_ID,
  type ApiKey,
  apiKeyText,
  callerOfKey,
  grantsBeyond,
  KEY_CALLER,
  newApiKeyText,
  readApiKey,
  secretMatches,
  sharedGrants,
  unknownScopes,
} from './api-key.ts'
import { ApiKeyStore, type StoredApiKey } from './api-key-store.ts'
import type { Authentication } from './authentication.ts'
import type { Caller } from './caller.ts'
import { IdentityError } from './errors.ts'
import type { Grant } from './roles.ts'
import { secretHash } from './secrets.ts'
import type { SecurityNotes } from './security-events.ts'
import { distinctGrants, grantText } from './user.ts'

export interface ApiKeysOptions {
  readonly database: DatabaseHandle
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly events: SecurityNotes
  /** How long what another core changed of a key, or of its maker, may go unseen. */
  readonly recheckMs: number
  /** Tags of the routes: what a scope may name. Asked when a key is made. */
  readonly tags: () => ReadonlySet<string>
}

export interface NewApiKey {
  readonly name: string
  readonly scopes: readonly string[]
  readonly grants: readonly Grant[]
  readonly expiresAtMs: number | null
}

/** Keys that are good at one time, of everybody and of one maker; another is refused. */
const KEYS_MAX = 1_000
const KEYS_OF_ONE_MAX = 100
/** Keys kept in memory; beyond it the one that was read first is read again. */
const CACHED_MAX = 2_000
/** How long it can be seen that a key was there once it is over. */
const KEPT_MS = 365 * DAY_MS
/** The time of the last use is written so often at most. */
const USE_NOTED_MS = 60_000

interface Cached {
  readonly stored: StoredApiKey
  /** Whether its use was noted since it was read. */
  noted: boolean
}

export class ApiKeys implements Authentication {
  private readonly options: ApiKeysOptions
  private readonly store: ApiKeyStore
  private readonly cache: BriefMemory<Cached | null>

  constructor(options: ApiKeysOptions) {
    this.options = options
    this.store = new ApiKeyStore(options.database)
    this.cache = new BriefMemory<Cached | null>({
      read: async (id) => {
        const stored = (await this.store.stored([id])).get(id)
        return stored === undefined ? null : { stored, noted: false }
      },
      keptMs: options.recheckMs,
      entriesMax: CACHED_MAX,
      // Made-up keys would push out real ones.
      isKept: (cached) => cached !== null,
      clock: options.clock,
    })
  }

  /**
   * The key, and its text: the only time that it can be seen.
   * @throws InvalidRegistrationError for scopes and times; IdentityError FORBIDDEN for rights that the caller lacks, or a
   *   caller that is no person; CONFLICT when there are too many.
   */
  async create(wanted: NewApiKey, caller: Caller): Promise<{ readonly key: ApiKey; readonly text: string }> {
    const { database, clock, random, log } = this.options
    requirePerson(caller)
    const nowMs = clock.wallMs()
    this.check(wanted, caller, nowMs)
    const secret = newApiKeyText(random)
    const key: ApiKey = {
      id: secret.id,
      name: wanted.name,
      scopes: [...new Set(wanted.scopes)],
      grants: distinctGrants(wanted.grants),
      createdBy: caller.id,
      createdAtMs: nowMs,
      expiresAtMs: wanted.expiresAtMs,
      lastUsedAtMs: null,
      revokedAtMs: null,
    }
    await database.transaction(async (transaction) => {
      await this.store.purge(nowMs - KEPT_MS, transaction)
      const living = await this.store.countLiving(nowMs, caller.id, transaction)
      if (living.own >= KEYS_OF_ONE_MAX) throw tooMany(`You have ${KEYS_OF_ONE_MAX} API keys`)
      if (living.all >= KEYS_MAX) throw tooMany(`There are ${KEYS_MAX} API keys`)
      await this.store.insert(key, secretHash(secret.secret), transaction)
    })
    log.info({ key: key.id, name: key.name, by: caller.id }, 'API key made')
    return { key, text: apiKeyText(secret) }
  }

  /** The newest first: those that the caller made, and those whose every site it looks after. */
  async list(request: PageRequest, caller: Caller): Promise<Page<ApiKey>> {
    return await this.store.list(request, { userId: caller.id, sites: caller.sites('auditor') })
  }

  /** The person who made the key of a caller, such as `api-key:0f1e2d3c4b5a6978`; null when it is no key's. */
  async makerOf(callerId: string): Promise<string | null> {
    const id = callerId.startsWith(KEY_CALLER) ? callerId.slice(KEY_CALLER.length) : ''
    return API_KEY_ID.test(id) ? ((await this.store.get(id))?.createdBy ?? null) : null
  }

  /** Null when there is none, or none that the caller may see. */
  async get(id: string, caller: Caller): Promise<ApiKey | null> {
    const key = API_KEY_ID.test(id) ? await this.store.get(id) : null
    return key !== null && (key.createdBy === caller.id || covers(caller, 'auditor', key)) ? key : null
  }

  /**
   * The key as it is then; null when there is none that the caller may see. It takes effect here at once, on other cores
   * within `recheckMs`.
   * @throws IdentityError FORBIDDEN for a key of somebody else at sites that the caller does not administer.
   */
  async revoke(id: string, caller: Caller): Promise<ApiKey | null> {
    const key = await this.get(id, caller)
    if (key === null) return null
    if (key.createdBy !== caller.id && !covers(caller, 'admin', key)) {
      throw new IdentityError('FORBIDDEN', `This needs the role admin at every site of the API key ${id}.`, {
        code: 'ROLE_MISSING',
        hint: `${key.createdBy} can revoke it, and so can an administrator.`,
      })
    }
    await this.store.revoke(id, this.options.clock.wallMs())
    this.cache.forget(id)
    this.options.log.info({ key: id, by: caller.id }, 'API key revoked')
    return await this.store.get(id)
  }

  /** Reads what makers may do anew: it has changed here, where that counts at once. */
  forgetRights(): void {
    this.cache.forgetAll()
  }

  /** @throws IdentityError UNAUTHENTICATED */
  async authenticate(credential: string | null): Promise<Caller> {
    const { events } = this.options
    const given = credential === null ? null : readApiKey(credential)
    const cached = given === null ? null : await this.cache.of(given.id)
    const stored = cached?.stored ?? null
    // Whoever does not have the secret learns nothing of the key, not even that there is one.
    if (given === null || cached === null || stored === null || !secretMatches(given.secret, stored.secretHash)) {
      const detail = stored === null ? 'a key that there is not was shown' : 'a key was shown with another secret'
      events.note({ kind: 'api-key-refused', subject: given?.id ?? 'unknown', detail })
      throw new IdentityError('UNAUTHENTICATED', 'This is none of the API keys here.', {
        code: 'API_KEY_UNKNOWN',
        hint: 'Look for a typing error, or make a new key: busbar-cloud api-key create.',
      })
    }
    this.requireGood(stored)
    await this.noteUse(stored.key, cached)
    return callerOf(stored)
  }

  async recheck(callers: readonly Caller[]): Promise<ReadonlyMap<string, Caller>> {
    const ids = callers.flatMap(({ credentialId }) => credentialId ?? [])
    const found = await this.store.stored(ids)
    const good = [...found.values()].filter((stored) => this.whyNot(stored) === null)
    return new Map(good.map((stored) => [stored.key.id, callerOf(stored)]))
  }

  private check(wanted: NewApiKey, caller: Caller, nowMs: number): void {
    const invalid: InvalidField[] = []
    const tags = this.options.tags()
    for (const scope of unknownScopes(wanted.scopes, tags)) {
      const known = ['*', ...[...tags].sort()].join(', ')
      invalid.push({ field: 'scopes', value: scope, remedy: `one of these with :read or :write behind it: ${known}` })
    }
    if (wanted.expiresAtMs !== null && wanted.expiresAtMs <= nowMs) {
      const value = new Date(wanted.expiresAtMs).toISOString()
      invalid.push({ field: 'expiresAt', value, remedy: 'a time to come' })
    }
    if (invalid.length > 0) throw new InvalidRegistrationError(invalid)
    const beyond = grantsBeyond(wanted.grants, caller)
    if (beyond.length === 0) return
    const named = beyond.map(grantText).join(', ')
    throw new IdentityError('FORBIDDEN', `An API key gets no more than its maker has, and you lack ${named}.`, {
      code: 'ROLE_MISSING',
      hint: 'Leave that out, or ask somebody who has it.',
    })
  }

  private requireGood(stored: StoredApiKey): void {
    const why = this.whyNot(stored)
    if (why === null) return
    const { id } = stored.key
    this.options.events.note({ kind: 'api-key-refused', subject: id, detail: why.message })
    throw new IdentityError('UNAUTHENTICATED', why.message, {
      code: why.code,
      hint: 'Make a new one: busbar-cloud api-key create.',
    })
  }

  private whyNot({ key, makerActive }: StoredApiKey): { readonly code: string; readonly message: string } | null {
    if (key.revokedAtMs !== null) return { code: 'API_KEY_REVOKED', message: 'The API key was revoked.' }
    if (key.expiresAtMs !== null && key.expiresAtMs <= this.options.clock.wallMs())
      return { code: 'API_KEY_EXPIRED', message: 'The API key has expired.' }
    if (!makerActive)
      return { code: 'API_KEY_MAKER_DISABLED', message: 'Who made the API key is no longer an active user here.' }
    return null
  }

  private async noteUse({ id, lastUsedAtMs }: ApiKey, cached: Cached): Promise<void> {
    const nowMs = this.options.clock.wallMs()
    if (cached.noted || (lastUsedAtMs !== null && nowMs - lastUsedAtMs < USE_NOTED_MS)) return
    cached.noted = true
    try {
      await this.store.noteUse(id, nowMs, nowMs - USE_NOTED_MS)
    } catch (error) {
      // It is for people to look at: a database that is away for a moment keeps no program out.
      if (!(error instanceof BusbarError && error.retryable)) throw error
    }
  }
}

/** A key that could make keys would outlive its own end, and its scopes. */
function requirePerson(caller: Caller): void {
  if (caller.kind === 'user') return
  throw new IdentityError('FORBIDDEN', 'Only a person who is logged in can make an API key.', {
    code: 'PERSON_REQUIRED',
    hint:
      caller.kind === 'local'
        ? 'This core asks nobody to log in (api.insecure), so programs need no key.'
        : 'Log in as a user: busbar-cloud login.',
  })
}

function tooMany(what: string): IdentityError {
  return new IdentityError('CONFLICT', `${what}, and no more can be made.`, {
    code: 'API_KEYS_LIMIT',
    hint: 'Revoke those that are no longer used: busbar-cloud api-key list shows when each was used last.',
  })
}

function callerOf({ key, makerGrants }: StoredApiKey): Caller {
  return callerOfKey(key.id, key.scopes, sharedGrants(key.grants, makerGrants))
}

/** True when the caller has the role wherever the key has one. */
function covers(caller: Caller, role: Grant['role'], key: ApiKey): boolean {
  return (
    grantsBeyond(
      key.grants.map(({ siteId }) => ({ role, siteId })),
      caller,
    ).length === 0
  )
}
