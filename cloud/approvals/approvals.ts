/**
 * Four eyes: what one person may not do alone waits here for a second one. Approving does what was asked for and says so in
 * one transaction, so that it happens once, whoever approves at the same time and whenever a core dies.
 */

import type { Kysely, Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { DAY_MS, HOUR_MS } from '../../shared/durations.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import type { Database } from '../database/schema.ts'
import type { Page, PageRequest } from '../registry/page.ts'
import type { SiteScope } from '../registry/site-scope.ts'
import {
  type Approval,
  ApprovalConflictError,
  type ApprovalKind,
  needsSecondPerson,
  requirePending,
  stateAt,
} from './approval.ts'
import { type ApprovalFilter, ApprovalStore, type Decision } from './approval-store.ts'

export * from './approval.ts'
export type { ApprovalFilter } from './approval-store.ts'

export interface ApprovalSettings {
  /** Command types that nobody may give alone. */
  readonly commandTypes: readonly string[]
  /** How long a request waits for the second person, milliseconds. */
  readonly expiryMs: number
  /** How long requests are kept, days. */
  readonly keptDays: number
}

/** Joins in the transaction of what is done; rejects when the request does not wait any more, and nothing is done then. */
export type Join = (resultId: string, transaction: Transaction<Database>) => Promise<void>

/**
 * Does what was asked for, and calls `join` in the transaction that stores it.
 * @throws whatever the service refuses it with; the request waits on then.
 */
export type Action = (approval: Approval, join: Join) => Promise<void>

export interface ApprovalsOptions {
  readonly database: DatabaseHandle
  readonly settings: ApprovalSettings
  readonly actions: Readonly<Record<ApprovalKind, Action>>
  /** The person who answers for a caller: of a program's key, whoever made it. */
  readonly personBehind: (callerId: string) => Promise<string>
  /** Whether a person may still give commands at these sites, none of which stand for a device that is not registered. */
  readonly mayCommand: (userId: string, siteIds: readonly number[]) => Promise<boolean>
  readonly coreId: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface NewApproval {
  readonly kind: ApprovalKind
  readonly commandType: string
  /** JSON, for the action. */
  readonly request: unknown
  readonly siteIds: readonly number[]
  readonly requestedBy: string
}

export class Approvals implements Part {
  readonly name = 'approvals'
  private readonly options: ApprovalsOptions
  private readonly store: ApprovalStore
  private readonly purging: Duty

  constructor(options: ApprovalsOptions) {
    this.options = options
    this.store = new ApprovalStore(options.database)
    this.purging = new Duty({
      ...options,
      name: 'approvals-purge',
      periodMs: HOUR_MS,
      work: (signal) => this.purge(signal),
    })
  }

  start(): Promise<void> {
    return this.purging.start()
  }

  stop(deadline: AbortSignal): Promise<void> {
    return this.purging.stop(deadline)
  }

  /** True when a command of this type waits for a second person. */
  needed(commandType: string): boolean {
    return needsSecondPerson(this.options.settings.commandTypes, commandType)
  }

  /** @param also joins in the transaction that stores it. */
  async ask(
    request: NewApproval,
    also?: (approval: Approval, transaction: Transaction<Database>) => Promise<void>,
  ): Promise<Approval> {
    const { clock, random, settings, database, log } = this.options
    const nowMs = Math.round(clock.wallMs())
    const approval: Approval = {
      ...request,
      siteIds: [...new Set(request.siteIds)].sort((a, b) => a - b),
      id: `apr-${randomHex(random, 8)}`,
      requestedAtMs: nowMs,
      expiresAtMs: nowMs + settings.expiryMs,
      ...{ state: 'PENDING', decidedBy: null, decidedAtMs: null, note: null, resultId: null },
    }
    await database.transaction(async (transaction) => {
      await this.store.insert(approval, transaction)
      await also?.(approval, transaction)
    })
    const { id, commandType, requestedBy } = approval
    log.info({ approval: id, commandType, requestedBy }, 'a command waits for a second person')
    return approval
  }

  /** Null when there is none. */
  async get(id: string): Promise<Approval | null> {
    const approval = await this.store.get(id)
    return approval && this.asOfNow(approval)
  }

  /** The newest first; those at sites that are all in `scope`, and those that `askedBy` asked for. */
  async list(
    request: PageRequest & ApprovalFilter,
    visible: { readonly scope: SiteScope; readonly askedBy: string },
  ): Promise<Page<Approval>> {
    const page = await this.store.list(request, visible, Math.round(this.options.clock.wallMs()))
    return { ...page, items: page.items.map((approval) => this.asOfNow(approval)) }
  }

  /**
   * Does what was asked for. Null when there is no such request.
   * @throws ApprovalConflictError; whatever the service refuses the command or task with
   */
  async approve(id: string, by: string, note: string | null): Promise<Approval | null> {
    const approval = await this.store.get(id)
    if (approval === null) return null
    requirePending(approval, this.options.clock.wallMs())
    await this.requireAsker(approval, by)
    await this.options.actions[approval.kind](approval, async (resultId, transaction) => {
      await this.decide(approval, { state: 'APPROVED', decidedBy: by, note, resultId }, transaction)
    })
    const { commandType, requestedBy } = approval
    this.options.log.info({ approval: id, commandType, requestedBy, approvedBy: by }, 'a command was approved')
    return await this.get(id)
  }

  /** Null when there is no such request. @throws ApprovalConflictError */
  reject(id: string, by: string, note: string | null): Promise<Approval | null> {
    return this.end(id, { state: 'REJECTED', decidedBy: by, note, resultId: null })
  }

  /** By whoever asked for it. Null when there is no such request. @throws ApprovalConflictError */
  withdraw(id: string, by: string, note: string | null): Promise<Approval | null> {
    return this.end(id, { state: 'WITHDRAWN', decidedBy: by, note, resultId: null })
  }

  private async end(id: string, decision: Decision): Promise<Approval | null> {
    const approval = await this.store.get(id)
    if (approval === null) return null
    requirePending(approval, this.options.clock.wallMs())
    await this.decide(approval, decision, this.options.database.kysely)
    return await this.get(id)
  }

  private async decide(approval: Approval, decision: Decision, kysely: Kysely<Database>): Promise<void> {
    const nowMs = Math.round(this.options.clock.wallMs())
    if (await this.store.decide(approval.id, decision, nowMs, kysely)) return
    requirePending((await this.store.get(approval.id, kysely)) ?? { ...approval, state: 'EXPIRED' }, nowMs)
    throw new Error('a request that waits could not be decided')
  }

  /**
   * Whoever asked is another person, who could still ask: a program's key is none beside whoever made it.
   * @throws ApprovalConflictError
   */
  private async requireAsker({ id, requestedBy, siteIds }: Approval, by: string): Promise<void> {
    const { personBehind, mayCommand } = this.options
    const [asking, deciding] = await Promise.all([personBehind(requestedBy), personBehind(by)])
    if (asking === deciding) {
      throw new ApprovalConflictError(`${id} was asked for by ${asking}, so another person has to approve it`, {
        code: 'APPROVAL_OWN',
        hint: 'Ask a colleague who is an operator of these sites.',
      })
    }
    if (await mayCommand(asking, siteIds)) return
    throw new ApprovalConflictError(`${asking}, who asked for ${id}, is no operator of these sites any more`, {
      code: 'APPROVAL_ASKER_GONE',
      hint: 'Reject it, and ask anew if it is still wanted.',
    })
  }

  private asOfNow(approval: Approval): Approval {
    return { ...approval, state: stateAt(approval, this.options.clock.wallMs()) }
  }

  private async purge(signal: AbortSignal): Promise<void> {
    const beforeMs = Math.round(this.options.clock.wallMs()) - this.options.settings.keptDays * DAY_MS
    while (!signal.aborted && (await this.store.purge(beforeMs)) > 0);
  }
}
