/**
 * What devices were, and when. Analytics appends what arrives on `device-status`; a change is placed by its event time,
 * however late it comes.
 */

import type { Transaction } from 'kysely'
import type { Clock } from '../../shared/clock.ts'
import { DAY_MS, HOUR_MS } from '../../shared/durations.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import type { Database } from '../database/schema.ts'
import type { StatusEvent } from '../registry/device-event.ts'
import type { Device } from '../registry/device-store.ts'
import type { Page, PageRequest } from '../registry/page.ts'
import { type Availability, AvailabilityTally } from './availability.ts'
import {
  type HistoryKey,
  type HistoryPoint,
  type HistoryRange,
  HistoryStore,
  type StatusHistoryEntry,
} from './history-store.ts'

export interface StatusHistoryOptions {
  readonly database: DatabaseHandle
  readonly coreId: string
  /** How long changes are kept, days; the last one before stays. */
  readonly historyDays: number
  /** Default one hour. */
  readonly purgePeriodMs?: number
  readonly clock: Clock
  readonly log: Logger
}

/** What is asked of a device for its availability. */
export type JudgedDevice = Pick<Device, 'id' | 'status' | 'statusAtMs'>

/** Changes read at once; more of them take several reads. */
const POINTS_PER_READ = 5_000

export class StatusHistory implements Part {
  readonly name = 'status-history'
  private readonly options: StatusHistoryOptions
  private readonly store: HistoryStore
  private readonly purging: Duty

  constructor(options: StatusHistoryOptions) {
    const { database, coreId, purgePeriodMs: periodMs = HOUR_MS, clock, log } = options
    this.options = options
    this.store = new HistoryStore(database)
    const work = (signal: AbortSignal) => this.purge(signal)
    this.purging = new Duty({ name: 'status-history', database, coreId, periodMs, work, clock, log })
  }

  /** From now on what is too old is removed, by one core for all. */
  async start(): Promise<void> {
    await this.purging.start()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    await this.purging.stop(deadline)
  }

  /** Stores the changes in the caller's transaction; one that is there already changes nothing. */
  async append(events: readonly StatusEvent[], transaction: Transaction<Database>): Promise<void> {
    await this.store.append(events, transaction)
  }

  /** The newest first. @throws InvalidRegistrationError for limit and cursor. */
  list(deviceId: number, request: PageRequest & HistoryRange = {}): Promise<Page<StatusHistoryEntry>> {
    return this.store.list(deviceId, request)
  }

  /** Of each of the devices, in their order, over the same range; `toMs` is after `fromMs`. */
  async availability(devices: readonly JudgedDevice[], fromMs: number, toMs: number): Promise<Availability[]> {
    const deviceIds = [...new Set(devices.map(({ id }) => id))].sort((a, b) => a - b)
    const last = new Map<number, HistoryPoint>()
    for (const point of await this.store.lastBy(deviceIds, fromMs)) last.set(point.device_id, point)
    const tallies = new Map(
      deviceIds.map((id) => [id, new AvailabilityTally(last.get(id)?.status ?? null, fromMs, toMs)] as const),
    )
    for await (const point of this.points(deviceIds, fromMs, toMs)) {
      tallies.get(point.device_id)?.add({ atMs: point.at_ms, status: point.status })
      last.set(point.device_id, point)
    }
    return devices.map((device) => {
      const tally = tallies.get(device.id) as AvailabilityTally
      const { status, statusAtMs } = device
      // What the registry knows may not have come here yet, or came before there was a history.
      if (status !== null && statusAtMs !== null && statusAtMs >= (last.get(device.id)?.at_ms ?? statusAtMs)) {
        tally.add({ atMs: Math.max(statusAtMs, fromMs), status })
      }
      return tally.finish()
    })
  }

  private async *points(deviceIds: readonly number[], fromMs: number, toMs: number): AsyncGenerator<HistoryPoint> {
    if (deviceIds.length === 0) return
    let after: HistoryKey | null = null
    for (;;) {
      const points: HistoryPoint[] = await this.store.walk(deviceIds, { fromMs, toMs, after, limit: POINTS_PER_READ })
      yield* points
      if (points.length < POINTS_PER_READ) return
      after = points.at(-1) ?? null
      await nextTurn()
    }
  }

  private async purge(signal: AbortSignal): Promise<void> {
    const { clock, historyDays } = this.options
    const beforeMs = Math.round(clock.wallMs() - historyDays * DAY_MS)
    let after: HistoryKey | null = null
    while (!signal.aborted) {
      after = await this.store.purge(beforeMs, after)
      if (after === null) return
      // SQLite answers at once, so that without this nothing else would be done until all of it is gone.
      await nextTurn()
    }
  }
}
