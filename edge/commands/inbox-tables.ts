/**
 * The tables of commands.db: every command that is not finished, in the order of arrival, and the ids of those that are, so
 * that none is carried out twice. Facts are what the cloud is still to be told; they come with the step that makes
 * them true, in one transaction.
 */

import type { SqliteDatabase } from '../../shared/sqlite.ts'
import type { LearnedTime } from './cloud-time.ts'
import type { LifeRow } from './life-row.ts'
import type { Handshake, Outcome } from './life-state.ts'
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

export interface OpenCommand {
  readonly position: number
  readonly commandId: string
  readonly siteId: number
  readonly serialNumber: string
  readonly expiresAtMs: number
  readonly timeoutMs: number
  readonly row: Omit<LifeRow, 'endedMs'>
}

export interface ImageFact extends LifeFact {
  readonly position: number
}

export interface InboxImage {
  /** Those that are not finished, in the order of arrival, then those that are with a fact untold. */
  readonly commands: readonly OpenCommand[]
  readonly facts: readonly ImageFact[]
  /** Packet identifiers that durable sessions may still hold. */
  readonly loose: readonly { readonly session: string; readonly packetId: number }[]
  /** Finished ids. */
  readonly remembered: number
  readonly learned: (LearnedTime & { readonly bootId: string }) | null
}

/** `position` 0: there was no room. `isWaiting`: nothing of it went to a device. */
export interface Admitted {
  readonly position: number
  readonly isNew: boolean
  readonly isWaiting: boolean
}

export interface InboxOutcome {
  readonly image?: InboxImage
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
        return { image: this.load() }
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

  private load(): InboxImage {
    const { database } = this
    const rows = [
      ...database.prepare(`${OPEN} WHERE phase <> 'ended' ORDER BY position`).all(),
      ...database.prepare(`${OPEN} WHERE phase = 'ended' AND position IN (SELECT position FROM facts)`).all(),
    ] as CommandRow[]
    const facts = database.prepare('SELECT position, state, reason FROM facts ORDER BY position, state').all() as {
      position: number
      state: LifeFact['state']
      reason: string | null
    }[]
    const note = database.prepare("SELECT value FROM notes WHERE key = 'cloud-time'").get() as
      | { value: string }
      | undefined
    return {
      commands: rows.map(openCommand),
      facts: facts.map(({ position, state, reason }) => ({ position, state, ...(reason === null ? {} : { reason }) })),
      loose: database
        .prepare(
          `SELECT session, packet_id AS packetId FROM commands
           WHERE phase = 'ended' AND session IS NOT NULL ORDER BY position`,
        )
        .all() as { session: string; packetId: number }[],
      remembered: (database.prepare("SELECT count(*) AS n FROM commands WHERE phase = 'ended'").get() as { n: number })
        .n,
      learned: note === undefined ? null : JSON.parse(note.value),
    }
  }
}

interface CommandRow {
  readonly position: number
  readonly command_id: string
  readonly site_id: number
  readonly serial_number: string
  readonly expires_at_ms: number
  readonly timeout_ms: number
  readonly phase: LifeRow['phase']
  readonly since_ms: number
  readonly boot_id: string
  readonly session: string | null
  readonly packet_id: number | null
  readonly qos: Handshake['qos'] | null
  readonly resumable: number | null
  readonly outcome: Outcome | null
}

const OPEN = `SELECT position, command_id, site_id, serial_number, expires_at_ms, timeout_ms, phase, since_ms, boot_id,
  session, packet_id, qos, resumable, outcome FROM commands`

function openCommand(row: CommandRow): OpenCommand {
  const { session, packet_id: packetId, qos, resumable } = row
  return {
    position: row.position,
    commandId: row.command_id,
    siteId: row.site_id,
    serialNumber: row.serial_number,
    expiresAtMs: row.expires_at_ms,
    timeoutMs: row.timeout_ms,
    row: {
      phase: row.phase,
      via: session === null ? null : { session, packetId: packetId ?? 0, qos: qos ?? 0, resumable: resumable === 1 },
      sinceMs: row.since_ms,
      bootId: row.boot_id,
      outcome: row.outcome,
    },
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
