/** The command service: one command to one device, told on command.events and followed to the device's answer. */

import type { Transaction } from 'kysely'
import type { Clock, Timer } from '../../shared/clock.ts'
import { DAY_MS } from '../../shared/durations.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { type Random, randomHex } from '../../shared/random.ts'
import { nextTurn } from '../../shared/waiting.ts'
import { COMMAND_EVENTS } from '../bus/catalogue.ts'
import type { Outbox } from '../bus/outbox.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { isDuplicate } from '../database/failure.ts'
import type { Database } from '../database/schema.ts'
import type { DeviceCommands } from '../gateways/gateways.ts'
import type { SelectedDevice } from '../registry/device-selection.ts'
import { NotAllowedAtError } from '../registry/errors.ts'
import type { Page, PageRequest } from '../registry/page.ts'
import type { Registry } from '../registry/registry.ts'
import { EVERYWHERE, includesSite, type SiteAccess } from '../registry/site-scope.ts'
import { commandCreated } from './command-event.ts'
import { type CommandFilter, CommandStore, type CommandView } from './command-store.ts'
import type { CommandProblem } from './command-types.ts'
import { deliveryUpdates } from './delivery.ts'
import { type CommandSettings, commandProblems, expiryOf, type NewCommand } from './new-command.ts'

export { COMMAND_ID_PATTERN, CommandCreatedSchema } from './command-event.ts'
export { COMMAND_STATUSES, type CommandDelivery, type CommandFilter, type CommandView } from './command-store.ts'
export * from './command-types.ts'
export { type CommandSettings, EXPIRES_IN_MS_RANGE, type NewCommand, TIMEOUT_MS_RANGE } from './new-command.ts'

export interface CommandServiceOptions {
  readonly database: DatabaseHandle
  readonly outbox: Outbox
  readonly deviceCommands: DeviceCommands
  readonly registry: Pick<Registry, 'selection'>
  readonly settings: CommandSettings
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** A request that cannot become a command; `problems` has everything that is wrong with it. */
export class CommandRefusedError extends BusbarError {
  readonly problems: readonly CommandProblem[]

  constructor(problems: readonly CommandProblem[]) {
    const named = problems.map(({ pointer, remedy }) => `${pointer} must be ${remedy}`)
    super(named.join('; '), { code: 'COMMAND_REFUSED', hint: 'correct the named members and try again' })
    this.problems = problems
  }
}

/** The owner's name of single commands at the outbox and at the commands on their way to devices. */
const OWNER = 'command'
/** Of 2^32 ids. A clash is a chance of one in thousands with a million commands kept; this many in a row are no chance. */
const ID_DRAWS_MAX = 8
const PURGE_PERIOD_MS = 60 * 60 * 1000

/** Runs in the transaction that stores a command; may run again, so it has no effect outside. */
export type WithCommand = (command: CommandView, transaction: Transaction<Database>) => Promise<void>

export class CommandService implements Part {
  readonly name = 'commands'
  private readonly options: CommandServiceOptions
  private readonly store: CommandStore
  private timer: Timer | null = null
  private purging: Promise<void> | null = null
  private stopped = false

  constructor(options: CommandServiceOptions) {
    this.options = options
    this.store = new CommandStore(options.database)
    const { clock, outbox, deviceCommands } = options
    outbox.onPublished(OWNER, (ids, sentAtMs, transaction) =>
      this.store.markSent(ids, sentAtMs, clock.wallMs(), transaction),
    )
    deviceCommands.onChanged(OWNER, (changes, transaction) =>
      this.store.writeDelivery(deliveryUpdates(changes), clock.wallMs(), transaction),
    )
  }

  /** From now on what ended long ago is removed, every hour. */
  async start(): Promise<void> {
    if (this.timer !== null || this.stopped) return
    this.timer = this.options.clock.every(PURGE_PERIOD_MS, () => this.beginPurge())
    this.beginPurge()
  }

  async stop(): Promise<void> {
    this.stopped = true
    this.timer?.cancel()
    await this.purging
  }

  /**
   * Stores the command, what command.events is to tell of it, and its way to the device, all or nothing; when it resolves they
   * are durable and under way.
   * @param also joins in that transaction.
   * @param access of whoever asks: a device that they do not see is an unknown one.
   * @throws CommandRefusedError, NotAllowedAtError; BusbarError DATABASE_UNAVAILABLE
   */
  async create(request: NewCommand, also?: WithCommand, access = EVERYWHERE): Promise<CommandView> {
    const { clock, database, outbox, deviceCommands } = this.options
    const nowMs = clock.wallMs()
    const device = await this.device(request, access, nowMs)
    for (let draw = 1; ; draw++) {
      const id = `cmd-${randomHex(this.options.random, 4)}`
      try {
        const command = await database.transaction(async (transaction) => {
          const stored = await this.insert(id, request, device, nowMs, transaction)
          await also?.(stored, transaction)
          return stored
        })
        if (device === null) outbox.nudge()
        else deviceCommands.nudge()
        return command
      } catch (error) {
        if (!isDuplicate(error) || draw === ID_DRAWS_MAX) throw error
      }
    }
  }

  /**
   * What `create` would do, without doing it: where the command would go, no site for a device that is not registered.
   * @throws as create.
   */
  async check(request: NewCommand, access = EVERYWHERE): Promise<number[]> {
    const device = await this.device(request, access, this.options.clock.wallMs())
    return device === null ? [] : [device.siteId]
  }

  /**
   * What is wrong with the members that are given; for a caller that has found others wrong and wants to tell all at once.
   * @param access as of `create`.
   */
  async problems(request: Partial<NewCommand>, access = EVERYWHERE): Promise<CommandProblem[]> {
    const { deviceId } = request
    const candidates = deviceId === undefined ? undefined : await this.candidates({ ...request, deviceId }, access)
    return commandProblems(request, candidates, this.rulesFor(access), this.options.clock.wallMs())
  }

  /** Null when there is none, or none any more. */
  get(id: string): Promise<CommandView | null> {
    return this.store.get(id)
  }

  /** The newest first; a walk through the pages meets each command once, whatever comes meanwhile. */
  list(request: PageRequest & CommandFilter = {}): Promise<Page<CommandView>> {
    return this.store.list(request)
  }

  /**
   * Commands whose latest change was stored at `sinceMs` or later, ascending by that time and id, `limit` at most; with
   * `afterId` those of `sinceMs` itself begin after it. A transaction may become visible some moments after the time it
   * stored, so who polls should look again at the last seconds.
   */
  changedSince(sinceMs: number, limit: number, afterId = ''): Promise<CommandView[]> {
    return this.store.changedSince(sinceMs, limit, afterId)
  }

  /** Null when it is not registered and need not be. @throws CommandRefusedError, NotAllowedAtError */
  private async device(request: NewCommand, access: SiteAccess, nowMs: number): Promise<SelectedDevice | null> {
    const candidates = await this.candidates(request, access)
    const [device = null] = candidates
    if (candidates.length === 1 && device !== null && !includesSite(access.acts, device.siteId)) {
      throw new NotAllowedAtError([device.siteId])
    }
    const problems = commandProblems(request, candidates, this.rulesFor(access), nowMs)
    if (problems.length > 0) throw new CommandRefusedError(problems)
    return device
  }

  private async candidates(
    { deviceId, siteId }: Pick<NewCommand, 'deviceId' | 'siteId'>,
    { sees }: SiteAccess,
  ): Promise<SelectedDevice[]> {
    return this.options.registry.selection.bySerialNumbers([deviceId], siteId, sees)
  }

  /** Whoever follows command.events knows no sites: an unknown serial number may be one of a device anywhere. */
  private rulesFor({ acts }: SiteAccess): CommandSettings {
    const { settings } = this.options
    return { ...settings, allowUnknownDevices: settings.allowUnknownDevices && acts === 'all' }
  }

  private async insert(
    id: string,
    request: NewCommand,
    device: SelectedDevice | null,
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<CommandView> {
    const { outbox, deviceCommands, settings } = this.options
    const { deviceId, name } = request
    const payload = request.payload ?? null
    const expiresAtMs = expiryOf(request, settings, nowMs)
    const command = await this.store.insert(
      {
        id,
        device_id: deviceId,
        site_id: device?.siteId ?? request.siteId ?? null,
        registered_device_id: device?.deviceId ?? null,
        name,
        payload: payload === null ? null : JSON.stringify(payload),
        status: 'pending',
        created_at_ms: nowMs,
        expires_at_ms: expiresAtMs,
        delivery_state: device === null ? null : 'QUEUED',
        updated_at_ms: nowMs,
      },
      transaction,
    )
    const value = commandCreated({ id, deviceId, name, payload, createdAtMs: nowMs })
    await outbox.append([{ topic: COMMAND_EVENTS, key: id, value, owner: { name: OWNER, id } }], transaction)
    if (device !== null) {
      const timeoutMs = request.timeoutMs ?? settings.timeoutMs
      const way = { owner: OWNER, taskId: null, issuedAtMs: nowMs, expiresAtMs, timeoutMs } as const
      await deviceCommands.issue(
        [{ commandId: id, ...device, name, params: JSON.stringify(payload), ...way }],
        transaction,
      )
    }
    return command
  }

  private beginPurge(): void {
    this.purging ??= this.purge().finally(() => {
      this.purging = null
    })
  }

  /** Never rejects: what it leaves behind the next one removes. */
  private async purge(): Promise<void> {
    const { clock, settings, log } = this.options
    const beforeMs = clock.wallMs() - settings.keptDays * DAY_MS
    try {
      while (!this.stopped && (await this.store.purge(beforeMs)) > 0) {
        // SQLite answers at once, so that without this nothing else would be done until all of it is gone.
        await nextTurn()
      }
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'old commands could not be removed; tried again in an hour')
    }
  }
}
