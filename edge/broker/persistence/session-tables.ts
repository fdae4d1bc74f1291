/**
 * The tables of sessions.db: what MQTT sessions, retained messages and the presence of devices need to survive a restart. Changes are applied in
 * the order in which they were made, a group in one transaction.
 */

import { openSqlite, type SqliteDatabase } from '../../../shared/sqlite.ts'
import type { StoredPacket } from './session-packet.ts'

export type SessionChange =
  | {
      readonly kind: 'session'
      readonly clientId: string
      readonly owner: string
      readonly awayMs: number
      readonly name: string
    }
  /** Removes the session with its subscriptions, queue and QoS 2 state. */
  | { readonly kind: 'forget'; readonly clientId: string }
  | { readonly kind: 'subscribe'; readonly clientId: string; readonly topic: string; readonly options: string }
  | { readonly kind: 'unsubscribe'; readonly clientId: string; readonly topic: string }
  | { readonly kind: 'enqueue'; readonly position: number; readonly clientId: string; readonly packet: StoredPacket }
  | { readonly kind: 'requeue'; readonly position: number; readonly packet: StoredPacket }
  | { readonly kind: 'dequeue'; readonly position: number }
  | { readonly kind: 'receive'; readonly clientId: string; readonly messageId: number; readonly packet: StoredPacket }
  | { readonly kind: 'release'; readonly clientId: string; readonly messageId: number }
  | { readonly kind: 'release-all'; readonly clientId: string }
  | { readonly kind: 'retain'; readonly topic: string; readonly packet: StoredPacket }
  | { readonly kind: 'unretain'; readonly topic: string }
  | { readonly kind: 'will'; readonly clientId: string; readonly packet: StoredPacket }
  | { readonly kind: 'unwill'; readonly clientId: string }
  | { readonly kind: 'present'; readonly siteId: number; readonly serialNumber: string }
  | { readonly kind: 'absent'; readonly siteId: number; readonly serialNumber: string }

/** Everything that was stored. */
export interface SessionImage {
  readonly sessions: {
    readonly clientId: string
    readonly owner: string
    readonly awayMs: number
    readonly name: string
  }[]
  readonly subscriptions: { readonly clientId: string; readonly topic: string; readonly options: string }[]
  /** Ascending by position. */
  readonly queued: (StoredPacket & { readonly position: number; readonly clientId: string })[]
  readonly received: (StoredPacket & { readonly clientId: string; readonly messageId: number })[]
  readonly retained: StoredPacket[]
  readonly wills: (StoredPacket & { readonly clientId: string })[]
  /** Devices that were connected. */
  readonly present: { readonly siteId: number; readonly serialNumber: string }[]
}

/** Each brings a file from the version before it to the next. */
const MIGRATIONS = [
  `
  CREATE TABLE sessions (client_id TEXT PRIMARY KEY, owner TEXT NOT NULL, away_ms INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE subscriptions (
    client_id TEXT NOT NULL, topic TEXT NOT NULL, options TEXT NOT NULL, PRIMARY KEY (client_id, topic)
  ) WITHOUT ROWID;
  CREATE TABLE queued (position INTEGER PRIMARY KEY, client_id TEXT NOT NULL, fields TEXT NOT NULL, payload BLOB);
  CREATE INDEX queued_by_client ON queued (client_id);
  CREATE TABLE received (
    client_id TEXT NOT NULL, message_id INTEGER NOT NULL, fields TEXT NOT NULL, payload BLOB,
    PRIMARY KEY (client_id, message_id)
  ) WITHOUT ROWID;
  CREATE TABLE retained (topic TEXT PRIMARY KEY, fields TEXT NOT NULL, payload BLOB) WITHOUT ROWID;
  CREATE TABLE wills (client_id TEXT PRIMARY KEY, fields TEXT NOT NULL, payload BLOB) WITHOUT ROWID;
  `,
  `
  ALTER TABLE sessions ADD COLUMN name TEXT NOT NULL DEFAULT '';
  UPDATE sessions SET name = lower(hex(randomblob(8)));
  `,
  `
  CREATE TABLE present_devices (
    site_id INTEGER NOT NULL, serial_number TEXT NOT NULL, PRIMARY KEY (site_id, serial_number)
  ) WITHOUT ROWID;
  `,
]

export class SessionTables {
  private readonly database: SqliteDatabase
  private readonly run: ReturnType<typeof prepare>

  /** Opens or creates the file. Throws SQLite's own errors. */
  constructor(path: string) {
    const database = openSqlite(path)
    this.database = database
    // One thread at a time has the file. Without a -shm file beside it, it can be read on a full disk.
    database.pragma('locking_mode = EXCLUSIVE')
    database.pragma('journal_mode = WAL')
    database.pragma('synchronous = FULL')
    const version = database.pragma('user_version', { simple: true }) as number
    if (version < MIGRATIONS.length) {
      database.transaction(() => {
        for (const migration of MIGRATIONS.slice(version)) database.exec(migration)
        database.pragma(`user_version = ${MIGRATIONS.length}`)
      })()
    }
    this.run = prepare(database)
  }

  /** Applies all of `changes` or none. */
  apply(changes: readonly SessionChange[]): void {
    this.database.transaction(() => {
      for (const change of changes) this.applyOne(change)
    })()
  }

  load(): SessionImage {
    const all = <Row>(sql: string) => this.database.prepare(sql).all() as Row[]
    return {
      sessions: all('SELECT client_id AS clientId, owner, away_ms AS awayMs, name FROM sessions'),
      subscriptions: all('SELECT client_id AS clientId, topic, options FROM subscriptions'),
      queued: all('SELECT position, client_id AS clientId, fields, payload FROM queued ORDER BY position'),
      received: all('SELECT client_id AS clientId, message_id AS messageId, fields, payload FROM received'),
      retained: all('SELECT fields, payload FROM retained'),
      wills: all('SELECT client_id AS clientId, fields, payload FROM wills'),
      present: all('SELECT site_id AS siteId, serial_number AS serialNumber FROM present_devices'),
    }
  }

  close(): void {
    this.database.close()
  }

  private applyOne(change: SessionChange): void {
    const { run } = this
    switch (change.kind) {
      case 'session':
        run.session(change.clientId, change.owner, change.awayMs, change.name)
        break
      case 'forget':
        run.forgetSession(change.clientId)
        run.forgetSubscriptions(change.clientId)
        run.forgetQueued(change.clientId)
        run.releaseAll(change.clientId)
        break
      case 'subscribe':
        run.subscribe(change.clientId, change.topic, change.options)
        break
      case 'unsubscribe':
        run.unsubscribe(change.clientId, change.topic)
        break
      case 'enqueue':
        run.enqueue(change.position, change.clientId, change.packet.fields, change.packet.payload)
        break
      case 'requeue':
        run.requeue(change.packet.fields, change.packet.payload, change.position)
        break
      case 'dequeue':
        run.dequeue(change.position)
        break
      case 'receive':
        run.receive(change.clientId, change.messageId, change.packet.fields, change.packet.payload)
        break
      case 'release':
        run.release(change.clientId, change.messageId)
        break
      case 'release-all':
        run.releaseAll(change.clientId)
        break
      case 'retain':
        run.retain(change.topic, change.packet.fields, change.packet.payload)
        break
      case 'unretain':
        run.unretain(change.topic)
        break
      case 'will':
        run.will(change.clientId, change.packet.fields, change.packet.payload)
        break
      case 'unwill':
        run.unwill(change.clientId)
        break
      case 'present':
        run.present(change.siteId, change.serialNumber)
        break
      case 'absent':
        run.absent(change.siteId, change.serialNumber)
        break
    }
  }
}

function prepare(database: SqliteDatabase) {
  const statement = (sql: string) => {
    const prepared = database.prepare(sql)
    return (...values: unknown[]): void => void prepared.run(...values)
  }
  return {
    session: statement('INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?)'),
    forgetSession: statement('DELETE FROM sessions WHERE client_id = ?'),
    forgetSubscriptions: statement('DELETE FROM subscriptions WHERE client_id = ?'),
    forgetQueued: statement('DELETE FROM queued WHERE client_id = ?'),
    releaseAll: statement('DELETE FROM received WHERE client_id = ?'),
    subscribe: statement('INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?)'),
    unsubscribe: statement('DELETE FROM subscriptions WHERE client_id = ? AND topic = ?'),
    enqueue: statement('INSERT OR REPLACE INTO queued VALUES (?, ?, ?, ?)'),
    requeue: statement('UPDATE queued SET fields = ?, payload = ? WHERE position = ?'),
    dequeue: statement('DELETE FROM queued WHERE position = ?'),
    receive: statement('INSERT OR REPLACE INTO received VALUES (?, ?, ?, ?)'),
    release: statement('DELETE FROM received WHERE client_id = ? AND message_id = ?'),
    retain: statement('INSERT OR REPLACE INTO retained VALUES (?, ?, ?)'),
    unretain: statement('DELETE FROM retained WHERE topic = ?'),
    will: statement('INSERT OR REPLACE INTO wills VALUES (?, ?, ?)'),
    unwill: statement('DELETE FROM wills WHERE client_id = ?'),
    present: statement('INSERT OR REPLACE INTO present_devices VALUES (?, ?)'),
    absent: statement('DELETE FROM present_devices WHERE site_id = ? AND serial_number = ?'),
  }
}
