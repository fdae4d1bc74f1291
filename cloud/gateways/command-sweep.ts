/**
 * What has to be done to commands from time to time, by whichever core comes first: giving up those whose deadline has come,
 * sending those after their device whose device has moved, removing the old ones, counting the open ones. All in small steps.
 */

import type { Clock } from '../../shared/clock.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { overdue, rerouted } from './command-step.ts'
import { deleteFinished, ROWS_PER_STATEMENT } from './device-command-rows.ts'
import type { DeviceCommands } from './device-commands.ts'
import { countOpen, selectOverdue, selectRoutes } from './dispatch-queries.ts'
import type { Isolation } from './isolation.ts'

export interface CommandSweepOptions {
  readonly database: DatabaseHandle
  readonly commands: DeviceCommands
  readonly isolation: Isolation
  readonly keptMs: number
  readonly clock: Clock
}

/** Waiting commands whose route is looked at in one sweep; the next sweep goes on from there. */
const ROUTES_A_SWEEP = 2_000
const COUNT_PERIOD_MS = 5_000
const PURGE_PERIOD_MS = 60_000

export class CommandSweep {
  private readonly options: CommandSweepOptions
  private routedThrough = ''
  private countDueAtMs = Number.NEGATIVE_INFINITY
  private purgeDueAtMs = Number.NEGATIVE_INFINITY
  private counts: Awaited<ReturnType<typeof countOpen>> = { open: 0, unstored: 0, waiting: 0 }

  constructor(options: CommandSweepOptions) {
    this.options = options
  }

  /** As of the last count, of all cores. */
  get openCounts(): Awaited<ReturnType<typeof countOpen>> {
    return this.counts
  }

  /** Gives up some of those whose deadline has come; true when there may be more. */
  async giveUpOverdue(): Promise<boolean> {
    const { database, commands, isolation, clock } = this.options
    const nowMs = Math.round(clock.wallMs())
    const ids = await selectOverdue(database.kysely, database.dialect, {
      nowMs,
      except: isolation.except(),
      limit: ROWS_PER_STATEMENT,
    })
    await isolation.each(
      ids,
      (id) => id,
      async (group) => {
        await database.transaction((transaction) => commands.step(group, (row) => overdue(row, nowMs), transaction))
        commands.tell()
      },
    )
    return ids.length === ROWS_PER_STATEMENT
  }

  /** True when commands now go another way. */
  async reroute(): Promise<boolean> {
    const { database, commands, isolation } = this.options
    const routes = await selectRoutes(database.kysely, this.routedThrough, ROUTES_A_SWEEP)
    this.routedThrough = routes.length < ROUTES_A_SWEEP ? '' : (routes.at(-1)?.command_id ?? '')
    // Null: the site was taken from the gateway, which is not to have its commands, and no other has spoken for the device yet.
    const moved = new Map<string, string | null>()
    for (const { command_id: commandId, gateway_id: gatewayId, there } of routes) {
      if (there !== gatewayId) moved.set(commandId, there)
    }
    await isolation.each(
      [...moved],
      ([commandId]) => commandId,
      async (group) => {
        const ids = group.map(([commandId]) => commandId)
        await database.transaction((transaction) =>
          commands.step(ids, (row) => rerouted(row, moved.get(row.command_id) as string | null), transaction),
        )
      },
    )
    return moved.size > 0
  }

  /** One step of removing what ended long ago, when it is due. */
  async purge(): Promise<void> {
    const { database, keptMs, clock } = this.options
    if (clock.monotonicMs() < this.purgeDueAtMs) return
    const deleted = await deleteFinished(database.kysely, clock.wallMs() - keptMs)
    if (deleted < ROWS_PER_STATEMENT) this.purgeDueAtMs = clock.monotonicMs() + PURGE_PERIOD_MS
  }

  async count(): Promise<void> {
    const { database, clock } = this.options
    if (clock.monotonicMs() < this.countDueAtMs) return
    this.counts = await countOpen(database.kysely)
    this.countDueAtMs = clock.monotonicMs() + COUNT_PERIOD_MS
  }
}
