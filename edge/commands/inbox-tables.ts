/**
 * The tables of commands.db: every command that is not finished, in the order of arrival, and the ids of those that are, so
 * that none is carried out twice. Facts are what the cloud is still to be told; they come with the step that makes
 * them true, in one transaction.
 */

import type { SqliteDatabase } from '../../shared/sqlite.ts'
import type { LearnedTime } from './cloud-time.ts'
import { imageOf } from './inbox-image.ts'
import type { LifeRow } from './life-row.ts'
import type { LifeFact } from './life-step.ts'
import { PURGE_ROWS_MAX } from './limits.ts'

export interface NewCommand {
  readonly commandId: string
  readonly siteId: number
  readonly serialNumber: string
  readonly expiresAtMs: number
  readonly timeoutMs: number
  /** Null when the cloud sent something that no device could read. */
  readonly payload: Uint8Array | null
}

export type InboxChange =
  /** Changes nothing; its outcome has everything that is not finished. */
  | { readonly kind: 'load' }
  /** Stores those that are not known, as long as there is `room`. */
  | { readonly kind: 'receive'; readonly commands: readonly NewCommand[]; readonly room: number }
  /** The next state of a command. With `fetch` the outcome has its payload. */
  | {
      readonly kind: 'step'
      readonly position: number
      readonly row: LifeRow
      readonly fact: LifeFact | null
      readonly fetch: boolean
    }
  | { readonly kind: 'told'; readonly position: number; readonly state: string }
  | { readonly kind: 'learn'; readonly bootId: string; readonly learned: LearnedTime }
  /** Removes finished ids that are `keptMs` old and can come to no device any more; at most PURGE_ROWS_MAX. */
  | { readonly kind: 'purge'; readonly cloudMs: number; readonly keptMs: number }
  | { readonly kind: 'probe' }

/** `position` 0: there was no room. `isWaiting`: nothing of it went to a device. */
export interface Admitted {
  readonly position: number
  readonly isNew: boolean
  readonly isWaiting: boolean
}

export interface InboxOutcome {
  /** For `parseImage`. */
  readonly image?: string
  /** One for each command of a `receive`. */
  readonly admitted?: readonly Admitted[]
  readonly payload?: Uint8Array | null
  readonly removed?: number
}

export const SCHEMA_VERSION = 1
export const SCHEMA = `
  CREATE TABLE commands (
    position INTEGER PRIMARY KEY AUTOINCREMENT, command_id TEXT NOT NULL UNIQUE, site_id INTEGER NOT NULL,
    serial_number TEXT NOT NULL, expires_at_ms INTEGER NOT NULL, timeout_ms INTEGER NOT NULL, payload BLOB,
    phase TEXT NOT NULL, since_ms INTEGER NOT NULL DEFAULT 0, boot_id TEXT NOT NULL DEFAULT '',
    session TEXT, packet_id INTEGER, qos INTEGER, resumable INTEGER, outcome TEXT, ended_ms INTEGER
  ) STRICT;
  CREATE INDEX commands_open ON commands (position) WHERE phase <> 'ended';
  CREATE INDEX commands_ended ON commands (ended_ms) WHERE phase = 'ended';
  CREATE INDEX commands_loose ON commands (session) WHERE phase = 'ended' AND session IS NOT NULL;
  CREATE TABLE facts (
    position INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT, PRIMARY KEY (position, state)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
`

const NO_OUTCOME: InboxOutcome = {}

export class InboxTables {
  private readonly database: SqliteDatabase
  private readonly sql: ReturnType<typeof prepare>

  /** @param database with the schema; closed by `close`. */
  constructor(database: SqliteDatabase) {
    this.database = database
    this.sql = prepare(database)
  }

  /** Applies all of `changes` or none. */
  apply(changes: readonly InboxChange[]): InboxOutcome[] {
    return this.database.transaction(() => changes.map((change) => this.applyOne(change)))()
  }

  close(): void {
    this.database.close()
  }

  private applyOne(change: InboxChange): InboxOutcome {
    const { sql } = this
    switch (change.kind) {
      case 'load':
        return { image: imageOf(this.database) }
      case 'receive':
        return { admitted: this.receive(change.commands, change.room) }
      case 'step':
        return this.step(change)
      case 'told':
        sql.told.run(change.position, change.state)
        return NO_OUTCOME
      case 'learn':
        sql.note.run('cloud-time', JSON.stringify({ bootId: change.bootId, ...change.learned }))
        return NO_OUTCOME
      case 'purge':
        sql.endedNow.run(change.cloudMs)
        return { removed: sql.purge.run(change.cloudMs - change.keptMs, change.cloudMs, PURGE_ROWS_MAX).changes }
      case 'probe':
        sql.note.run('probe', '')
        return NO_OUTCOME
    }
  }

  private receive(commands: readonly NewCommand[], room: number): Admitted[] {
    const { sql } = this
    let left = room
    return commands.map(({ commandId, siteId, serialNumber, expiresAtMs, timeoutMs, payload }) => {
      const known = sql.find.get(commandId) as { position: number; phase: string } | undefined
      if (known !== undefined) return { position: known.position, isNew: false, isWaiting: known.phase === 'waiting' }
      if (left <= 0) return { position: 0, isNew: false, isWaiting: false }
      left--
      const { lastInsertRowid } = sql.receive.run(commandId, siteId, serialNumber, expiresAtMs, timeoutMs, payload)
      return { position: Number(lastInsertRowid), isNew: true, isWaiting: true }
    })
  }

  private step({ position, row, fact, fetch }: Extract<InboxChange, { kind: 'step' }>): InboxOutcome {
    const { sql } = this
    const { phase, via, sinceMs, bootId, outcome, endedMs } = row
    const resumable = via === null ? null : Number(via.resumable)
    const handshake = [via?.session ?? null, via?.packetId ?? null, via?.qos ?? null, resumable]
    sql.step.run(phase, sinceMs, bootId, ...handshake, outcome, endedMs, position)
    if (phase === 'ended') sql.dropPayload.run(position)
    // The device's own answer says more than any fact, and overtakes those that are untold.
    if (outcome === 'ANSWERED') sql.withdraw.run(position)
    if (fact !== null) sql.fact.run(position, fact.state, fact.reason ?? null)
    if (!fetch) return NO_OUTCOME
    const found = sql.payload.get(position) as { payload: Uint8Array | null } | undefined
    return { payload: found?.payload ?? null }
  }
}

function prepare(database: SqliteDatabase) {
  return {
    find: database.prepare('SELECT position, phase FROM commands WHERE command_id = ?'),
    receive: database.prepare(
      `INSERT INTO commands (command_id, site_id, serial_number, expires_at_ms, timeout_ms, payload, phase)
       VALUES (?, ?, ?, ?, ?, ?, 'waiting')`,
    ),
    step: database.prepare(
      `UPDATE commands SET phase = ?, since_ms = ?, boot_id = ?, session = ?, packet_id = ?, qos = ?, resumable = ?,
       outcome = ?, ended_ms = ? WHERE position = ?`,
    ),
    dropPayload: database.prepare('UPDATE commands SET payload = NULL WHERE position = ? AND payload IS NOT NULL'),
    payload: database.prepare('SELECT payload FROM commands WHERE position = ?'),
    fact: database.prepare('INSERT OR IGNORE INTO facts VALUES (?, ?, ?)'),
    withdraw: database.prepare('DELETE FROM facts WHERE position = ?'),
    told: database.prepare('DELETE FROM facts WHERE position = ? AND state = ?'),
    note: database.prepare('INSERT OR REPLACE INTO notes VALUES (?, ?)'),
    endedNow: database.prepare("UPDATE commands SET ended_ms = ? WHERE phase = 'ended' AND ended_ms IS NULL"),
    purge: database.prepare(
      `DELETE FROM commands WHERE position IN (
         SELECT position FROM commands WHERE phase = 'ended' AND ended_ms <= ? AND expires_at_ms <= ?
         AND position NOT IN (SELECT position FROM facts) LIMIT ?)`,
    ),
  }
}
