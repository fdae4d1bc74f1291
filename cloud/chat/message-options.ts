/** What messages need of others, and what they give. */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import type { Logger } from '../../shared/log.ts'
import type { Outbox } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import type { Database } from '../database/schema.ts'
import type { Membership } from './membership.ts'
import type { Message, MessageStatus } from './message.ts'
import type { MessageLimits } from './new-message.ts'
import type { SendLimitRules } from './send-limit.ts'

/** What else is stored in the transaction of a change; may run again, so it has no effect outside. Rejects to undo the change. */
export type Also<T> = (changed: T, transaction: Transaction<Database>) => Promise<void>

export interface MessageSettings extends MessageLimits, SendLimitRules {
  readonly keptDays: number
}

export interface MessagesOptions {
  readonly database: DatabaseHandle
  readonly outbox: Pick<Outbox, 'append' | 'nudge' | 'onPublished'>
  readonly membership: Membership
  readonly settings: MessageSettings
  /** Of this process and no other, also not of an earlier one. */
  readonly coreId: string
  /** See SendQueueOptions. */
  readonly paceMs?: number
  readonly clock: Clock
  readonly log: Logger
}

/** A message as somebody is shown it. */
export interface ShownMessage {
  readonly message: Message
  /** How far it has come, for its sender; null for others, and of a notice. */
  readonly status: MessageStatus | null
}

export interface SentMessage {
  readonly message: Message
  readonly status: MessageStatus
  /** It had come before; nothing was stored now. */
  readonly repeated: boolean
}

/** What a message said before it was changed. */
export interface MessageTrace {
  /** Of the change that replaced it. */
  readonly replacedByRevision: number
  readonly content: string
  readonly links: Message['links']
  readonly mentions: readonly string[]
  /** Unix milliseconds. */
  readonly replacedAtMs: number
  readonly replacedBy: string
}

export interface HistoryRequest {
  /** Messages wanted, 1 to 500; default 50. */
  readonly limit?: number | undefined
  /** Those before this position; absent for the newest. */
  readonly before?: number | undefined
  /** `next` of the page before. */
  readonly cursor?: string | undefined
}

export interface SearchRequest {
  /** Found anywhere in the content, in whatever case. */
  readonly text: string
  /** In this conversation only. */
  readonly conversationId?: string | undefined
  readonly limit?: number | undefined
  readonly cursor?: string | undefined
}

export interface SinceRequest {
  /** Up to this revision; absent for all that is there now. */
  readonly upTo?: number | undefined
  readonly limit?: number | undefined
}

/** What happened in a conversation after a revision: a page of it, in order of revision: the next page begins after the last one. */
export interface Since {
  readonly messages: readonly ShownMessage[]
  /** For the pages that follow; whoever has them all is at this revision. */
  readonly upTo: number
  readonly more: boolean
}

/** The last change of a conversation that a user is in. */
export interface LastRevision {
  readonly userId: string
  readonly conversationId: string
  readonly lastRevision: number
}

/** Totals since the start. */
export interface MessageStats {
  readonly sent: number
  /** Those that had come before. */
  readonly repeated: number
  readonly edited: number
  readonly deleted: number
  /** By the code of the refusal, such as RATE_LIMITED. */
  readonly refused: Readonly<Record<string, number>>
  /** Transactions that stored messages. */
  readonly batches: number
  /** Messages that wait to be stored. */
  readonly waiting: number
  /** Removed because of their age. */
  readonly purged: number
}
