/** How the rules stand at the devices, in the database: rows of those that ever met their condition. */

import { type Selectable, sql, type Transaction } from 'kysely'
import { nextTurn } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { givenRows } from '../database/given-rows.ts'
import type { AlertStatesTable, Database } from '../database/schema.ts'
import type { AlertState, Track } from './alert-state.ts'

/** Rows of one statement. */
const ROWS_PER_STATEMENT = 500

export interface StateKey {
  readonly ruleId: string
  readonly deviceId: number
  readonly track: Track
}

export interface StoredState extends StateKey {
  readonly ruleVersion: number
  readonly state: AlertState
}

const KEY = { rule_id: 'text', device_id: 'integer', track: 'text' } as const

export class AlertStateStore {
  private readonly database: DatabaseHandle

  constructor(database: DatabaseHandle) {
    this.database = database
  }

  /**
   * Of these devices, whatever the rule, where something is wrong: the rest is nearly all, and says no more than when it ended,
   * which `lock` says as well.
   */
  async ofDevices(deviceIds: readonly number[]): Promise<StoredState[]> {
    const { dialect, kysely } = this.database
    const given = givenRows(
      dialect,
      { device_id: 'integer' },
      deviceIds.map((device_id) => ({ device_id })),
    )
    const { rows } = await sql<StateRow>`
      select alert_states.*, alerts.value_worst as worst
      from ${given} join alert_states on alert_states.device_id = given.device_id
        left join alerts on alerts.id = alert_states.alert_id
      where alert_states.state <> 'OK'`.execute(kysely)
    return rows.map(toState)
  }

  /** Of these keys, locked until the transaction ends, in one order for all cores. */
  async lock(keys: readonly StateKey[], transaction: Transaction<Database>): Promise<StoredState[]> {
    const { dialect } = this.database
    const given = givenRows(
      dialect,
      KEY,
      keys.map(({ ruleId, deviceId, track }) => ({ rule_id: ruleId, device_id: deviceId, track })),
    )
    const { rows } = await sql<StateRow>`
      select alert_states.*, alerts.value_worst as worst
      from ${given} join alert_states on alert_states.rule_id = given.rule_id
          and alert_states.device_id = given.device_id and alert_states.track = given.track
        left join alerts on alerts.id = alert_states.alert_id
      order by alert_states.rule_id, alert_states.device_id, alert_states.track
      ${sql.raw(dialect === 'postgres' ? 'for update of alert_states' : '')}`.execute(transaction)
    return rows.map(toState)
  }

  /** A state that was judged later than the one given stays. */
  async write(states: readonly StoredState[], transaction: Transaction<Database>): Promise<void> {
    const rows = states.map(toRow).sort(inLockOrder)
    for (let start = 0; start < rows.length; start += ROWS_PER_STATEMENT) {
      if (start > 0) await nextTurn()
      await transaction
        .insertInto('alert_states')
        .values(rows.slice(start, start + ROWS_PER_STATEMENT))
        .onConflict((conflict) =>
          conflict
            .columns(['rule_id', 'device_id', 'track'])
            .doUpdateSet(({ ref }) => ({
              state: ref('excluded.state'),
              since_ms: ref('excluded.since_ms'),
              at_ms: ref('excluded.at_ms'),
              alert_id: ref('excluded.alert_id'),
              rule_version: ref('excluded.rule_version'),
            }))
            .where(sql<boolean>`(alert_states.rule_version < excluded.rule_version
              or (alert_states.rule_version = excluded.rule_version and alert_states.at_ms < excluded.at_ms))`),
        )
        .execute()
    }
  }

  async forgetRule(ruleId: string, transaction: Transaction<Database>): Promise<void> {
    await transaction.deleteFrom('alert_states').where('rule_id', '=', ruleId).execute()
  }

  /** They hold on under another version of their rule, which judges in the same way. */
  async keepUnder(ruleId: string, ruleVersion: number, transaction: Transaction<Database>): Promise<void> {
    await transaction
      .updateTable('alert_states')
      .set({ rule_version: ruleVersion })
      .where('rule_id', '=', ruleId)
      .execute()
  }

  /** Those that these alerts are open in. */
  async forgetAlerts(alertIds: readonly string[], transaction: Transaction<Database>): Promise<void> {
    await transaction.deleteFrom('alert_states').where('alert_id', 'in', alertIds).execute()
  }
}

interface StateRow extends Selectable<AlertStatesTable> {
  readonly worst: number | null
}

function toState(row: StateRow): StoredState {
  return {
    ruleId: row.rule_id,
    deviceId: row.device_id,
    track: row.track as Track,
    ruleVersion: row.rule_version,
    state: stateOf(row),
  }
}

function stateOf({ state, since_ms, at_ms, alert_id, worst }: StateRow): AlertState {
  if (state === 'PENDING') return { kind: 'PENDING', atMs: at_ms, sinceMs: since_ms }
  // Without its alert, which cannot be, the next reading would have nothing to close.
  if (state === 'OPEN' && alert_id !== null && worst !== null) {
    return { kind: 'OPEN', atMs: at_ms, sinceMs: since_ms, alertId: alert_id, worst }
  }
  return { kind: 'OK', atMs: at_ms }
}

function toRow({ ruleId, deviceId, track, ruleVersion, state }: StoredState) {
  return {
    rule_id: ruleId,
    device_id: deviceId,
    track,
    state: state.kind,
    since_ms: state.kind === 'OK' ? state.atMs : state.sinceMs,
    at_ms: state.atMs,
    alert_id: state.kind === 'OPEN' ? state.alertId : null,
    rule_version: ruleVersion,
  }
}

type KeyRow = ReturnType<typeof toRow>

function inLockOrder(a: KeyRow, b: KeyRow): number {
  if (a.rule_id !== b.rule_id) return a.rule_id < b.rule_id ? -1 : 1
  return a.device_id - b.device_id || (a.track < b.track ? -1 : 1)
}
