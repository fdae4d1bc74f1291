/**
 * One socket as one user's place in their conversations: what it was sent of each, and what is on the way to it. Messages go
 * through here, so that what the socket did not take is known and read again once it takes more.
 */

import type { Timer } from '../../../../shared/clock.ts'
import type { LiveClient } from '../live-client.ts'
import { Arrivals } from './arrivals.ts'
import { ChatCursor } from './chat-cursor.ts'
import { type ArrivingMessage, conversationFrame, type LiveMessage } from './chat-events.ts'
import { READ_PAGE, RESUMES_EARLY_MAX } from './chat-limits.ts'

/** Something is to be read for the socket. */
export type OnWants = (seat: ChatSeat, conversationId: string) => void

/** The last change of each conversation. */
export type ChatMarks = Readonly<Record<string, number>>

/** What was put aside for the client; null for an event that is not repeated. */
type Outgoing = LiveMessage | { readonly joined: string; readonly revision: number } | null

/** In it no more since that revision. */
type Left = number

export class ChatSeat {
  readonly client: LiveClient
  readonly userId: string
  readonly arrivals = new Arrivals<ArrivingMessage>()
  /** Ids of the subscriptions that have it. */
  readonly holders = new Set<string>()
  isOpen = true
  /** Runs while it is held. */
  holding: Timer | null = null
  /** When it was joined, Unix milliseconds: what was sent before did not wait for the network. */
  sinceMs = 0
  /** Conversations of which the client could not be sent more at present, or that could not be read. */
  readonly stalled = new Set<string>()
  /** Changes of one page that is read for it: fewer of a socket that takes fewer at once. */
  page = READ_PAGE
  /** Those of which a page is waited for, or being read; see CatchUps. */
  readonly wanted = new Set<string>()
  private readonly onWants: OnWants
  private begins: ReadonlyMap<string, number> | null = null
  /** What came of the client before it could begin, and what is done when it never does. */
  private readonly beforeBegin: { readonly work: () => void; readonly instead: () => void }[] = []
  private readonly cursors = new Map<string, ChatCursor<LiveMessage> | Left>()
  /** While it is held: the first and the last change that came of each conversation. */
  private early: Map<string, { readonly first: LiveMessage; readonly last: LiveMessage }> | null = new Map()
  private outgoing: Outgoing[] = []

  constructor(client: LiveClient, userId: string, onWants: OnWants) {
    this.client = client
    this.userId = userId
    this.onWants = onWants
  }

  /** True while messages wait for the client to say from where it resumes. */
  get isHeld(): boolean {
    return this.early !== null
  }

  /** True once its subscription was answered. */
  get hasBegun(): boolean {
    return this.begins !== null
  }

  /** From where on changes are sent, unless the client resumes. */
  get marks(): ChatMarks {
    return Object.fromEntries(this.begins ?? [])
  }

  /** @param begins the last change of each conversation of the user: what comes after it is sent. */
  begin(begins: ReadonlyMap<string, number>, wallMs: number): void {
    this.begins = begins
    this.sinceMs = wallMs
  }

  /** Does what waited for the answer to the subscription, before anything is sent. */
  answered(): void {
    for (const { work } of this.beforeBegin.splice(0)) work()
  }

  /** Now, or as soon as the subscription was answered; `instead` when it ends before, or too much waits for it. */
  whenBegun(work: () => void, instead: () => void): void {
    if (this.hasBegun) work()
    else if (this.beforeBegin.length < RESUMES_EARLY_MAX) this.beforeBegin.push({ work, instead })
    else instead()
  }

  close(): void {
    this.isOpen = false
    this.holding?.cancel()
    for (const { instead } of this.beforeBegin.splice(0)) instead()
  }

  /** Messages go out from now on. */
  release(): void {
    const early = this.early
    if (early === null) return
    this.early = null
    for (const [conversationId, { first, last }] of early) {
      // In one that is new to the user everything from the first on is new.
      const cursor = this.cursorFor(first)
      cursor?.behind(last.revision)
      if (cursor?.wants != null) this.onWants(this, conversationId)
    }
  }

  /** Null when the user is not in it, as far as is known here. */
  cursorOf(conversationId: string): ChatCursor<LiveMessage> | null {
    const known = this.cursors.get(conversationId)
    if (known !== undefined) return typeof known === 'number' ? null : known
    const begin = this.begins?.get(conversationId)
    if (begin === undefined) return null
    const cursor = new ChatCursor<LiveMessage>(begin)
    this.cursors.set(conversationId, cursor)
    return cursor
  }

  /** Puts a change aside for `flush` if it is its turn. True when there is something to flush. */
  offer(live: LiveMessage, frame: string): boolean {
    if (this.early !== null) {
      const { first, last } = this.early.get(live.conversationId) ?? { first: live, last: live }
      this.early.set(live.conversationId, {
        first: live.revision < first.revision ? live : first,
        last: live.revision > last.revision ? live : last,
      })
      return false
    }
    const cursor = this.cursorFor(live)
    if (cursor === null) return false
    if (cursor.take(live)) this.put(live, frame)
    else if (cursor.wants !== null) this.onWants(this, live.conversationId)
    return this.outgoing.length > 0
  }

  /** Puts what has waited aside for `flush`: its turn has come. */
  putWaiting(ready: readonly LiveMessage[]): void {
    for (const live of ready) this.put(live, this.frameOf(live))
  }

  /** Puts an event aside that is not sent again when the client does not take it. */
  tell(frame: string): void {
    this.client.put(frame)
    this.outgoing.push(null)
  }

  /** The database says that the user is in a conversation that is at `revision`. False when that is known. */
  compare(conversationId: string, revision: number): boolean {
    const known = this.cursors.get(conversationId)
    const isNew = known === undefined && this.begins?.has(conversationId) !== true
    if (!isNew && (typeof known !== 'number' || known >= revision)) {
      const cursor = this.cursorOf(conversationId)
      cursor?.behind(revision)
      if (cursor?.wants != null) this.onWants(this, conversationId)
      return false
    }
    this.enter(conversationId, revision)
    return true
  }

  /** The user is not in it any more, since `revision`; false when that is known. */
  leave(conversationId: string, revision: number): boolean {
    const cursor = this.cursorOf(conversationId)
    // Who was let in again since is in it.
    if (cursor === null || revision < cursor.mark) return false
    this.forget(conversationId, revision)
    return true
  }

  /** It is not there for the user. */
  forget(conversationId: string, revision: number): void {
    this.stalled.delete(conversationId)
    this.cursors.set(conversationId, revision)
    this.tell(conversationFrame(conversationId, 'left', revision))
  }

  /** Sends what was put aside. */
  flush(nowMs: number): void {
    const outgoing = this.outgoing
    if (outgoing.length === 0) return
    this.outgoing = []
    const sent = this.client.flush('chat', nowMs, (count) => {
      for (let i = 0; i < count; i++) this.arrive(outgoing[i] ?? null)
      this.ping()
    })
    for (const each of outgoing.slice(sent)) this.missed(each)
  }

  /**
   * Sends what was read, as far as the client takes it.
   * @returns how many of them.
   */
  sendRead(messages: readonly LiveMessage[], nowMs: number): number {
    // Before anything else, so that what was put aside for it earlier stays in front.
    this.flush(nowMs)
    let bytes = 0
    let fitting = 0
    for (const live of messages) {
      const frame = this.frameOf(live)
      if (!this.client.hasRoom(frame.length, bytes)) break
      bytes += frame.length
      fitting++
      this.client.put(frame)
    }
    if (fitting === 0) return 0
    return this.client.flush('chat', nowMs, (count) => {
      for (const live of messages.slice(0, count)) this.arrive(live)
      this.ping()
    })
  }

  /** Asks for a sign that what was sent has come, if there is something that it would say. */
  ping(): void {
    this.arrivals.ping((payload) => this.client.ping(payload))
  }

  private put(live: LiveMessage, frame: string): void {
    this.client.put(frame)
    this.outgoing.push(live)
  }

  private arrive(each: Outgoing): void {
    if (each === null || 'joined' in each) return
    if (each.isNew && each.senderId !== this.userId) this.arrivals.sent(each.arriving)
  }

  private missed(each: Outgoing): void {
    if (each === null) return
    if ('joined' in each) {
      // As if it had not been met: the next change, or comparison, tells it.
      this.cursors.set(each.joined, each.revision)
      this.stalled.delete(each.joined)
      return
    }
    const { conversationId, revision } = each
    const cursor = this.cursorOf(conversationId)
    if (cursor === null) return
    cursor.unsent(revision)
    this.stalled.add(conversationId)
  }

  /** Of a conversation that was not known it begins with this change; null for what is over. */
  private cursorFor({ conversationId, revision, isNew }: LiveMessage): ChatCursor<LiveMessage> | null {
    const cursor = this.cursorOf(conversationId)
    if (cursor !== null) return cursor
    // What becomes of a message names who wrote it, who may have left.
    if (!isNew) return null
    const left = this.cursors.get(conversationId)
    if (typeof left === 'number' && revision <= left) return null
    return this.enter(conversationId, revision - 1)
  }

  private enter(conversationId: string, revision: number): ChatCursor<LiveMessage> {
    const cursor = new ChatCursor<LiveMessage>(revision)
    this.cursors.set(conversationId, cursor)
    this.client.put(conversationFrame(conversationId, 'joined', revision))
    this.outgoing.push({ joined: conversationId, revision })
    return cursor
  }

  private frameOf(live: LiveMessage): string {
    return live.senderId === this.userId ? live.ownFrame : live.frame
  }
}
