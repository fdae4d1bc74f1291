/**
 * Who is there, as far as all cores know: online, away or offline, and when they were last seen. Each core keeps the sockets that
 * it has, stores what that comes to, and says every so often that it is alive; what a core that died has left is taken away
 * by another one.
 */

import type { Kysely } from 'kysely'
import type { Clock, Timer } from '../../shared/clock.ts'
import { ComplaintLimit } from '../../shared/complaint-limit.ts'
import { messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { aborted } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import type { Database } from '../database/schema.ts'
import type { Membership } from './membership.ts'
import { LocalPresence, type PresenceState } from './presence-state.ts'
import { PresenceStore, type Shared, type StoredPresence } from './presence-store.ts'

export type { PresenceState } from './presence-state.ts'

/** What is shown of a user. */
export interface PresenceView {
  readonly userId: string
  readonly state: PresenceState
  /** Unix milliseconds: now for who is online; null for who never had a socket. */
  readonly lastSeenAtMs: number | null
}

export interface PresenceChange extends PresenceView {
  readonly updatedAtMs: number
}

export interface PresenceSettings {
  readonly awayAfterMs: number
  readonly offlineAfterMs: number
  readonly receiptsMembersMax: number
}

export interface PresenceOptions {
  readonly database: DatabaseHandle
  readonly membership: Pick<Membership, 'visibleIn'>
  /** Of this process and no other, also not of an earlier one. */
  readonly coreId: string
  readonly settings: PresenceSettings
  readonly clock: Clock
  readonly log: Logger
}

export interface PresenceStats {
  /** Of this core. */
  readonly users: number
  readonly sockets: number
  /** Users whose state is not stored yet. */
  readonly waiting: number
  /** Cores that died, and whose sockets this one has taken away, since the start. */
  readonly coresRemoved: number
}

/** A page that is loaded again closes its socket and opens another: what comes to nothing within so long is not stored. */
const GATHER_MS = 300
/** A core says that it is alive so often in `offlineAfterMs`, and looks so often in `awayAfterMs` for who is idle. */
const BEATS = 3
/** Users of one transaction. */
const CHANGES_PER_WRITE = 2_000

export class Presence implements Part {
  readonly name = 'chat presence'
  private readonly options: PresenceOptions
  private readonly store: PresenceStore
  private readonly local: LocalPresence
  private readonly duty: Duty
  private readonly complaints: ComplaintLimit
  private beats: Timer | null = null
  private gathering: Timer | null = null
  private writing: Promise<void> | null = null
  private coresRemoved = 0
  private stopped = false

  constructor(options: PresenceOptions) {
    const { database, coreId, settings, clock, log } = options
    this.options = options
    this.store = new PresenceStore(database, settings.offlineAfterMs)
    this.local = new LocalPresence(settings.awayAfterMs)
    this.complaints = new ComplaintLimit(clock)
    this.duty = new Duty({
      name: this.name,
      database,
      coreId,
      periodMs: Math.ceil(settings.offlineAfterMs / BEATS),
      work: (signal) => this.removeDead(signal),
      clock,
      log,
    })
  }

  async start(): Promise<void> {
    if (this.beats !== null || this.stopped) return
    const { clock, settings } = this.options
    this.beats = clock.every(Math.ceil(Math.min(settings.offlineAfterMs, settings.awayAfterMs) / BEATS), () =>
      this.beat(),
    )
    await this.duty.start()
  }

  /** Takes everybody's sockets here away at once; what fails another core does when this one is silent for long enough. */
  async stop(deadline: AbortSignal): Promise<void> {
    if (this.stopped) return
    this.stopped = true
    this.beats?.cancel()
    this.gathering?.cancel()
    await this.duty.stop(deadline)
    await Promise.race([this.leave(), aborted(deadline)])
  }

  /** A socket of the user, which any object stands for. Without effect for one that is open. */
  open(userId: string, socket: object): void {
    this.local.open(userId, socket, this.options.clock.monotonicMs())
    this.gather()
  }

  /** Without effect for one that is not open. */
  close(userId: string, socket: object): void {
    this.local.close(userId, socket)
    this.gather()
  }

  /** What the socket says of itself; it holds until it says something else. */
  state(userId: string, state: 'online' | 'away', socket: object): void {
    this.local.say(userId, state, socket, this.options.clock.monotonicMs())
    this.gather()
  }

  /** The socket sent something: its user is not idle. Cheap, for every frame. */
  touch(userId: string, socket: object): void {
    if (this.local.touch(userId, socket, this.options.clock.monotonicMs())) this.gather()
  }

  /** As it is shown, in the order given. @throws BusbarError DATABASE_UNAVAILABLE */
  async of(userIds: readonly string[]): Promise<PresenceView[]> {
    const stored = new Map((await this.store.of(userIds)).map((each) => [each.userId, each]))
    return userIds.map((userId) => {
      const found = stored.get(userId)
      return found === undefined ? { userId, state: 'offline', lastSeenAtMs: null } : this.viewOf(found)
    })
  }

  /** Those of them who have a socket at some core, away or not. @throws BusbarError DATABASE_UNAVAILABLE */
  async isOnline(
    userIds: readonly string[],
    kysely: Kysely<Database> = this.options.database.kysely,
  ): Promise<ReadonlySet<string>> {
    const connected = await this.store.connected(userIds, this.options.clock.wallMs(), kysely)
    // Who came a moment ago is not stored yet.
    return new Set([...connected, ...userIds.filter((userId) => this.local.has(userId))])
  }

  /**
   * Whose state changed at `sinceMs` or later, ascending by that time and user, `limit` at most; those of `sinceMs` itself
   * begin after `afterUserId`. @throws BusbarError DATABASE_UNAVAILABLE
   */
  async changedSince(sinceMs: number, limit: number, afterUserId = ''): Promise<PresenceChange[]> {
    const changed = await this.store.changedSince(sinceMs, limit, afterUserId)
    return changed.map((each) => ({ ...this.viewOf(each), updatedAtMs: each.updatedAtMs }))
  }

  /**
   * By user who changed, who of the local ones shares a conversation with them that is not too large; they themselves are left
   * out. @throws BusbarError DATABASE_UNAVAILABLE
   */
  async audience(
    changedUserIds: readonly string[],
    localUserIds: readonly string[],
  ): Promise<ReadonlyMap<string, readonly string[]>> {
    if (changedUserIds.length === 0 || localUserIds.length === 0) return new Map()
    const { receiptsMembersMax } = this.options.settings
    const pairs = await this.store.sharing(changedUserIds, localUserIds, receiptsMembersMax)
    const seeing = await this.seeing(pairs)
    const audience = new Map<string, Set<string>>()
    for (const { changed, local, id, subject } of pairs) {
      if (subject !== null && seeing.get(id)?.has(local) !== true) continue
      const told = audience.get(changed) ?? new Set()
      audience.set(changed, told.add(local))
    }
    return new Map([...audience].map(([userId, told]) => [userId, [...told]]))
  }

  /** By conversation that is about something, those of the local ones who may see that: the others are as if not in it. */
  private async seeing(pairs: readonly Shared[]): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
    const tied = Map.groupBy(
      pairs.filter(({ subject }) => subject !== null),
      ({ id }) => id,
    )
    const asked = [...tied].map(([id, found]) => {
      return { id, subject: found[0]?.subject ?? null, userIds: [...new Set(found.map(({ local }) => local))] }
    })
    if (asked.length === 0) return new Map()
    return await this.options.membership.visibleIn(asked, this.options.database.kysely)
  }

  stats(): PresenceStats {
    const { size, sockets, waiting } = this.local
    return { users: size, sockets, waiting, coresRemoved: this.coresRemoved }
  }

  private viewOf({ userId, state, lastSeenAtMs }: StoredPresence): PresenceView {
    return { userId, state, lastSeenAtMs: state === 'online' ? this.options.clock.wallMs() : lastSeenAtMs }
  }

  private gather(): void {
    if (this.stopped || this.gathering !== null || this.local.waiting === 0) return
    this.gathering = this.options.clock.after(GATHER_MS, () => {
      this.gathering = null
      this.write()
    })
  }

  private beat(): void {
    this.local.sweep(this.options.clock.monotonicMs())
    // Who has nobody need not be alive.
    if (this.local.size > 0) this.write()
  }

  private write(): void {
    this.writing ??= this.writeChanges()
      .then(() => this.gather())
      .catch((error) => {
        const { log } = this.options
        if (this.stopped || !this.complaints.isDue()) return
        log.warn({ error: messageOf(error) }, 'who is there could not be stored; trying again')
      })
      .finally(() => {
        this.writing = null
      })
  }

  private async writeChanges(): Promise<void> {
    const { coreId, clock } = this.options
    for (let isMore = true; isMore && !this.stopped; ) {
      const changes = this.local.changes(clock.monotonicMs(), CHANGES_PER_WRITE)
      if (changes.length === 0 && this.local.size === 0) return
      const isKnown = await this.store.write(coreId, changes, clock.wallMs())
      if (isKnown) this.local.stored(changes, clock.monotonicMs())
      // Taken away by another core, which heard nothing from this one for too long.
      else this.local.lost()
      isMore = !isKnown || changes.length === CHANGES_PER_WRITE
    }
  }

  private async leave(): Promise<void> {
    const { database, coreId, clock, log } = this.options
    await this.writing
    try {
      if (database.health().state === 'up') await this.store.remove(coreId, clock.wallMs(), true)
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'the users of this core are shown as being there for a while longer')
    }
  }

  private async removeDead(signal: AbortSignal): Promise<void> {
    const { clock } = this.options
    for (const coreId of await this.store.dead(clock.wallMs())) {
      if (signal.aborted) return
      if (await this.store.remove(coreId, clock.wallMs(), false)) this.coresRemoved++
    }
  }
}
