/** Tasks in the database: made, listed, and moved from state to state. */

import { type ExpressionBuilder, type Insertable, type Kysely, sql, type Transaction, type Updateable } from 'kysely'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows, givenTexts } from '../database/given-rows.ts'
import type { Database, TasksTable } from '../database/schema.ts'
import { COMMAND_STATES, type CommandState } from '../gateways/gateways.ts'
import { changedAfter, newestFirstKey, olderThan } from '../registry/newest-first.ts'
import { type Page, type PageRequest, readPageRequest, toPage } from '../registry/page.ts'
import type { SiteScope } from '../registry/site-scope.ts'
import { TASK_ID } from './task-messages.ts'
import {
  OPEN_STATES,
  type Tally,
  type TaskDeviceRow,
  type TaskDeviceView,
  type TaskRow,
  type TaskSight,
  type TaskView,
  toTaskDeviceView,
  toTaskView,
} from './task-row.ts'
import { addTaskSites, sitesOfTasks, taskCondition } from './task-sites.ts'
import { stepsOf, type TaskState } from './task-state.ts'

/** Rows of one statement. */
const ROWS_PER_STATEMENT = 500
/** Tasks whose devices are counted by one statement. */
const TASKS_PER_COUNT = 10

export interface NewTaskDevice {
  readonly serialNumber: string
  /** Null with `deviceId` null: it is not known which device that is, and `reason` says why. */
  readonly siteId: number | null
  readonly deviceId: number | null
  readonly reason: string | null
  /** Sites that have a device of this serial number, when it is not known which is meant. */
  readonly maybeAt?: readonly number[]
}

export interface TaskFilter {
  readonly state?: TaskState | undefined
  readonly requestedBy?: string | undefined
  /** Created at or after, Unix milliseconds. */
  readonly createdAfterMs?: number | undefined
  /** Created before. */
  readonly createdBeforeMs?: number | undefined
  /** About no other sites, but for those that `askedBy` asked for. */
  readonly sites?: SiteScope
  readonly askedBy?: string
}

/** Called in the transaction in which tasks end; it may run again, so it has no effect outside of that. */
export type EndedListener = (tasks: readonly TaskView[], transaction: Transaction<Database>) => Promise<void>

export class TaskStore {
  private readonly database: DatabaseHandle
  private readonly onEnded: EndedListener | undefined

  constructor(database: DatabaseHandle, onEnded?: EndedListener) {
    this.database = database
    this.onEnded = onEnded
  }

  /** False when there is a task of this id, which stays as it is. */
  async insert(
    task: Insertable<TasksTable>,
    devices: readonly NewTaskDevice[],
    transaction: Transaction<Database>,
  ): Promise<boolean> {
    const inserted = await transaction
      .insertInto('tasks')
      .values(task)
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    if (Number(inserted.numInsertedOrUpdatedRows ?? 0) === 0) return false
    await addTaskSites(this.database.dialect, task.id, devices, transaction)
    const rows = devices.map(({ serialNumber, siteId, deviceId, reason }, position) => {
      return { position, serial_number: serialNumber, site_id: siteId, device_id: deviceId, reason }
    })
    for (let start = 0; start < rows.length; start += ROWS_PER_STATEMENT) {
      const given = givenRows(this.database.dialect, DEVICE_COLUMNS, rows.slice(start, start + ROWS_PER_STATEMENT))
      await sql`
        insert into task_devices
          (task_id, position, serial_number, site_id, device_id, reason, state, attempt, ready_at_ms, updated_at_ms)
        select cast(${task.id} as text), position, serial_number, site_id, device_id, reason, 'QUEUED', 0,
          cast(${task.start_at_ms} as bigint), cast(${task.updated_at_ms} as bigint)
        from ${given}`.execute(transaction)
      // SQLite answers at once, so without this nothing else would be done until all of them are in.
      await nextTurn()
    }
    return true
  }

  async get(id: string, kysely: Kysely<Database> = this.database.kysely): Promise<TaskView | null> {
    const row = await kysely.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirst()
    return row === undefined ? null : ((await this.views([row as TaskRow], kysely))[0] as TaskView)
  }

  /** What decides who may see those of them that there are. */
  async sights(ids: readonly string[], kysely: Kysely<Database>): Promise<ReadonlyMap<string, TaskSight>> {
    const given = sql<boolean>`id in ${givenTexts(this.database.dialect, ids)}`
    const rows = await kysely.selectFrom('tasks').select(['id', 'requested_by']).where(given).execute()
    const sites = await sitesOfTasks(this.database.dialect, ids, kysely)
    return new Map(rows.map((row) => [row.id, { requestedBy: row.requested_by, siteIds: sites.get(row.id) ?? [] }]))
  }

  /** Those of them that there are. */
  async some(ids: readonly string[], kysely: Kysely<Database>): Promise<TaskView[]> {
    const given = sql<boolean>`id in ${givenTexts(this.database.dialect, ids)}`
    return await this.views((await kysely.selectFrom('tasks').selectAll().where(given).execute()) as TaskRow[], kysely)
  }

  /** The newest first. @throws InvalidRegistrationError for limit and cursor. */
  async list(request: PageRequest & TaskFilter): Promise<Page<TaskView>> {
    const { limit, after } = readPageRequest<string>(request, 'string')
    const { state, requestedBy, createdAfterMs, createdBeforeMs } = request
    const seen = taskCondition(this.database.dialect, request.sites, request.askedBy)
    let query = this.database.kysely
      .selectFrom('tasks')
      .selectAll()
      .orderBy('created_at_ms', 'desc')
      .orderBy('id', 'desc')
      .limit(limit + 1)
    if (after !== null) query = query.where(olderThan(after, request.cursor, TASK_ID))
    if (state !== undefined) query = query.where('state', '=', state)
    if (requestedBy !== undefined) query = query.where('requested_by', '=', requestedBy)
    if (seen !== null) query = query.where(seen)
    if (createdAfterMs !== undefined) query = query.where('created_at_ms', '>=', createdAfterMs)
    if (createdBeforeMs !== undefined) query = query.where('created_at_ms', '<', createdBeforeMs)
    const page = toPage(await query.execute(), limit, newestFirstKey, (row) => row as TaskRow)
    return { ...page, items: await this.views(page.items) }
  }

  /** See `Tasks.changedSince`. */
  async changedSince(sinceMs: number, limit: number, afterId: string): Promise<TaskView[]> {
    const rows = await this.database.kysely
      .selectFrom('tasks')
      .selectAll()
      .where(changedAfter(sinceMs, afterId))
      .orderBy('updated_at_ms')
      .orderBy('id')
      .limit(limit)
      .execute()
    return await this.views(rows as TaskRow[])
  }

  /** By position. @throws InvalidRegistrationError for limit and cursor. */
  async devices(
    taskId: string,
    request: PageRequest & { readonly state?: CommandState | undefined },
  ): Promise<Page<TaskDeviceView>> {
    const { limit, after } = readPageRequest<number>(request, 'number')
    let query = this.database.kysely
      .selectFrom('task_devices')
      .selectAll()
      .where('task_id', '=', taskId)
      .orderBy('position')
      .limit(limit + 1)
    if (after !== null) query = query.where('position', '>', after)
    if (request.state !== undefined) query = query.where('state', '=', request.state)
    const rows = (await query.execute()) as TaskDeviceRow[]
    return toPage(rows, limit, (row) => row.position, toTaskDeviceView)
  }

  /** The task, ours until the transaction ends. */
  async lock(id: string, transaction: Transaction<Database>): Promise<TaskRow | undefined> {
    return (await this.lockAll([id], transaction))[0]
  }

  /** Those that exist, by id: one order for all cores, so that two transactions cannot wait for each other's rows. */
  async lockAll(ids: readonly string[], transaction: Transaction<Database>): Promise<TaskRow[]> {
    const rows = await transaction
      .selectFrom('tasks')
      .selectAll()
      .where(sql<boolean>`id in ${givenTexts(this.database.dialect, ids)}`)
      .orderBy('id')
      .$if(this.database.dialect === 'postgres', (query) => query.forUpdate())
      .execute()
    return rows as TaskRow[]
  }

  /** Those whose task.requested is on its topic now. */
  async markPublished(ids: readonly string[], nowMs: number, transaction: Transaction<Database>): Promise<void> {
    const tasks = await this.lockAll(ids, transaction)
    for (const { from, to } of stepsOf('published')) {
      const those = tasks.filter((task) => task.state === from).map((task) => task.id)
      if (those.length > 0) await this.update(those, { state: to }, nowMs, transaction)
    }
  }

  /** Tells who follows these that they changed. */
  async touch(ids: readonly string[], nowMs: number, transaction: Transaction<Database>): Promise<void> {
    const tasks = await this.lockAll(ids, transaction)
    if (tasks.length > 0) await this.update(ids, {}, nowMs, transaction)
  }

  /**
   * Changes locked tasks. The time of their latest change grows with every change, also when the clock of the core that made
   * the one before is ahead: by it the others see that there is something new.
   */
  async update(
    ids: readonly string[],
    changes: Omit<Updateable<TasksTable>, 'updated_at_ms'>,
    nowMs: number,
    transaction: Transaction<Database>,
  ): Promise<void> {
    await this.updating(ids, changes, nowMs, transaction).execute()
  }

  /** Ends those of `locked` all of whose devices have their result. */
  async endFinished(locked: readonly TaskRow[], nowMs: number, transaction: Transaction<Database>): Promise<void> {
    for (const { from, to } of stepsOf('ended')) {
      const those = locked.filter((task) => task.state === from).map((task) => task.id)
      if (those.length === 0) continue
      const end = { state: to, finished_at_ms: nowMs, runner: null, runner_until_ms: null }
      const ended = await this.updating(those, end, nowMs, transaction).where(hasNoOpenDevice).returningAll().execute()
      if (ended.length === 0 || this.onEnded === undefined) continue
      await this.onEnded(await this.views(ended as TaskRow[], transaction), transaction)
    }
  }

  private updating(
    ids: readonly string[],
    changes: Omit<Updateable<TasksTable>, 'updated_at_ms'>,
    nowMs: number,
    transaction: Transaction<Database>,
  ) {
    return transaction
      .updateTable('tasks')
      .set({
        ...changes,
        updated_at_ms: sql<number>`case when updated_at_ms < ${nowMs} then ${nowMs} else updated_at_ms + 1 end`,
      })
      .where(sql<boolean>`id in ${givenTexts(this.database.dialect, ids)}`)
  }

  private countStates(taskIds: readonly string[], kysely: Kysely<Database>) {
    return kysely
      .selectFrom('task_devices')
      .select((e) => ['task_id', 'state', e.fn.countAll<number>().as('devices')])
      .where(sql<boolean>`task_id in ${givenTexts(this.database.dialect, taskIds)}`)
      .groupBy(['task_id', 'state'])
      .execute()
  }

  private async views(rows: readonly TaskRow[], kysely: Kysely<Database> = this.database.kysely): Promise<TaskView[]> {
    if (rows.length === 0) return []
    const none = Object.fromEntries(COMMAND_STATES.map((state) => [state, 0]))
    const tallies = new Map(rows.map((row) => [row.id, { ...none } as Record<string, number>]))
    for (let start = 0; start < rows.length; start += TASKS_PER_COUNT) {
      // Every device is counted, on SQLite while nothing else is done.
      if (start > 0) await nextTurn()
      const ids = rows.slice(start, start + TASKS_PER_COUNT).map((row) => row.id)
      for (const { task_id, state, devices } of await this.countStates(ids, kysely)) {
        ;(tallies.get(task_id) as Record<string, number>)[state] = devices
      }
    }
    const ids = rows.map((row) => row.id)
    const sites = await sitesOfTasks(this.database.dialect, ids, kysely)
    return rows.map((row) => toTaskView(row, tallies.get(row.id) as unknown as Tally, sites.get(row.id) ?? []))
  }
}

const DEVICE_COLUMNS = {
  position: 'integer',
  serial_number: 'text',
  site_id: 'integer',
  device_id: 'integer',
  reason: 'text',
} as const

function hasNoOpenDevice(e: ExpressionBuilder<Database, 'tasks'>) {
  return e.not(
    e.exists(
      e
        .selectFrom('task_devices')
        .select('position')
        .whereRef('task_devices.task_id', '=', 'tasks.id')
        .where('task_devices.state', 'in', OPEN_STATES),
    ),
  )
}
