/**
 * The embedded log on disk: one SQLite file. A batch is one row, so a commit of ten thousand records costs a handful of
 * inserts and one fsync. Synchronous throughout; log-worker.ts runs it on a thread of its own.
 */

import { openSqlite, type SqliteDatabase, type SqliteStatement } from '../../../shared/sqlite.ts'
import type { GroupOffset, NewBatch, PartitionState, RetainResult, StoredBatch, TopicSettings } from './log-protocol.ts'
import { LOG_SCHEMA } from './log-schema.ts'
import { checksum, decodeStored, encodeForStore } from './stored-body.ts'

/** Rows that one retention step deletes at most, so that a commit never waits long behind it. */
const RETAIN_ROWS_MAX = 64
/** The write-ahead log is folded back into the file after this many pages of 4 KiB. */
const WAL_PAGES_MAX = 4000

interface PartitionEntry {
  readonly id: number
  readonly topic: string
  readonly partition: number
  nextOffset: number
  storedBytes: number
}

interface BatchRow {
  readonly base_offset: number
  readonly record_count: number
  readonly timestamp_ms: number
  readonly encoding: number
  readonly checksum: number
  readonly body: Buffer
}

export class LogStore {
  private readonly database: SqliteDatabase
  private readonly partitions = new Map<string, PartitionEntry>()
  private readonly byId = new Map<number, PartitionEntry>()
  private readonly bytesMax: number
  private readonly insertBatch: SqliteStatement
  private readonly updatePartition: SqliteStatement
  private readonly upsertOffset: SqliteStatement
  private readonly selectFrom: SqliteStatement
  private readonly selectContaining: SqliteStatement
  private readonly selectOldest: SqliteStatement
  private readonly selectOldestOfAll: SqliteStatement
  private readonly deleteRow: SqliteStatement
  private readonly commitAll: (batches: readonly NewBatch[], offsets: readonly GroupOffset[]) => number

  /** Opens or creates the log at `path`; its directory must exist. Throws when another process has it open. */
  constructor(path: string, bytesMax: number) {
    this.bytesMax = bytesMax
    this.database = openSqlite(path, { busyTimeoutMs: 0 })
    // Exclusive: one process owns the log, and no shared-memory file is needed.
    this.database.pragma('locking_mode = EXCLUSIVE')
    this.database.pragma('journal_mode = WAL')
    this.database.pragma('synchronous = FULL')
    this.database.pragma(`wal_autocheckpoint = ${WAL_PAGES_MAX}`)
    this.database.exec(LOG_SCHEMA)
    const columns = 'base_offset, record_count, timestamp_ms, encoding, checksum, body'
    this.insertBatch = this.database.prepare(
      `INSERT INTO batches (partition_id, base_offset, record_count, timestamp_ms, encoding, checksum, body_bytes, body)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    this.updatePartition = this.database.prepare('UPDATE partitions SET next_offset = ?, stored_bytes = ? WHERE id = ?')
    this.upsertOffset = this.database.prepare(
      `INSERT INTO group_offsets (consumer_group, partition_id, next_offset) VALUES (?, ?, ?)
       ON CONFLICT (consumer_group, partition_id) DO UPDATE SET next_offset = excluded.next_offset`,
    )
    this.selectFrom = this.database.prepare(
      `SELECT ${columns} FROM batches WHERE partition_id = ? AND base_offset >= ? ORDER BY base_offset`,
    )
    this.selectContaining = this.database.prepare(
      `SELECT max(base_offset) AS base_offset FROM batches WHERE partition_id = ? AND base_offset <= ?`,
    )
    const doomed = 'id, partition_id, record_count, timestamp_ms, body_bytes'
    this.selectOldest = this.database.prepare(
      `SELECT ${doomed} FROM batches WHERE partition_id = ? ORDER BY base_offset LIMIT ?`,
    )
    this.selectOldestOfAll = this.database.prepare(`SELECT ${doomed} FROM batches ORDER BY id LIMIT ?`)
    this.deleteRow = this.database.prepare('DELETE FROM batches WHERE id = ?')
    this.commitAll = this.database.transaction(this.write.bind(this))
    this.loadPartitions()
  }

  close(): void {
    this.database.close()
  }

  topics(): TopicSettings[] {
    return this.database
      .prepare('SELECT topic, partitions, retention_ms AS retentionMs FROM topics')
      .all() as TopicSettings[]
  }

  partitionStates(): PartitionState[] {
    return [...this.partitions.values()].map(({ topic, partition, nextOffset }) => ({ topic, partition, nextOffset }))
  }

  groupOffsets(): GroupOffset[] {
    return this.database
      .prepare(
        `SELECT consumer_group AS "group", topic, partition, group_offsets.next_offset AS nextOffset
         FROM group_offsets JOIN partitions ON partitions.id = partition_id`,
      )
      .all() as GroupOffset[]
  }

  createTopics(topics: readonly TopicSettings[]): void {
    const insertTopic = this.database.prepare('INSERT INTO topics (topic, partitions, retention_ms) VALUES (?, ?, ?)')
    const insertPartition = this.database.prepare(
      'INSERT INTO partitions (topic, partition, next_offset, stored_bytes) VALUES (?, ?, 0, 0)',
    )
    this.database.transaction(() => {
      for (const { topic, partitions, retentionMs } of topics) {
        insertTopic.run(topic, partitions, retentionMs)
        for (let partition = 0; partition < partitions; partition++) insertPartition.run(topic, partition)
      }
    })()
    this.loadPartitions()
  }

  /** Appends batches and stores offsets in one transaction; returns the bytes stored. Durable when it returns. */
  commit(batches: readonly NewBatch[], offsets: readonly GroupOffset[]): number {
    try {
      return this.commitAll(batches, offsets)
    } catch (error) {
      // The offsets counted up in memory belong to rows that were rolled back.
      this.loadPartitions()
      throw error
    }
  }

  /**
   * Batches from the one that holds `offset` on, until `bytesMax` of bodies is reached, at least one if there is any.
   * A batch that fails its checksum is left out and counted.
   */
  read(
    topic: string,
    partition: number,
    offset: number,
    bytesMax: number,
  ): { batches: StoredBatch[]; corrupt: number } {
    const { id } = this.entry(topic, partition)
    const containing = this.selectContaining.get(id, offset) as { base_offset: number | null }
    const batches: StoredBatch[] = []
    let corrupt = 0
    let bytes = 0
    for (const row of this.selectFrom.iterate(id, containing.base_offset ?? offset) as IterableIterator<BatchRow>) {
      if (row.base_offset + row.record_count <= offset) continue
      if (checksum(row.body) !== row.checksum) {
        corrupt++
        continue
      }
      const body = decodeStored(row.body, row.encoding)
      batches.push({
        baseOffset: row.base_offset,
        recordCount: row.record_count,
        timestampMs: row.timestamp_ms,
        body,
      })
      bytes += body.length
      if (bytes >= bytesMax) break
    }
    return { batches, corrupt }
  }

  /**
   * One step of retention: deletes the oldest batches that are past their topic's retention or, oldest first over all
   * topics, while the log holds more than `bytesMax`. `more` says that another step would delete further.
   */
  retain(nowMs: number): RetainResult {
    try {
      return this.retainStep(nowMs)
    } catch (error) {
      // The transaction is undone, and what is counted here must follow it.
      this.loadPartitions()
      throw error
    }
  }

  private retainStep(nowMs: number): RetainResult {
    const result = { expiredRecords: 0, evictedRecords: 0, more: false }
    this.database.transaction(() => {
      let rows = 0
      for (const { topic, retentionMs } of this.topics()) {
        for (const entry of this.partitions.values()) {
          if (entry.topic !== topic) continue
          for (const row of this.selectOldest.all(entry.id, RETAIN_ROWS_MAX - rows) as DoomedRow[]) {
            if (row.timestamp_ms >= nowMs - retentionMs) break
            result.expiredRecords += this.deleteBatch(row)
            rows++
          }
        }
      }
      let storedBytes = 0
      for (const entry of this.partitions.values()) storedBytes += entry.storedBytes
      const oldest = storedBytes > this.bytesMax ? this.selectOldestOfAll.all(RETAIN_ROWS_MAX - rows) : []
      for (const row of oldest as DoomedRow[]) {
        if (storedBytes <= this.bytesMax) break
        storedBytes -= row.body_bytes
        result.evictedRecords += this.deleteBatch(row)
        rows++
      }
      result.more = rows >= RETAIN_ROWS_MAX
    })()
    return result
  }

  private deleteBatch(row: DoomedRow): number {
    this.deleteRow.run(row.id)
    const entry = this.byId.get(row.partition_id)
    if (entry !== undefined) {
      entry.storedBytes -= row.body_bytes
      this.updatePartition.run(entry.nextOffset, entry.storedBytes, entry.id)
    }
    return row.record_count
  }

  private write(batches: readonly NewBatch[], offsets: readonly GroupOffset[]): number {
    let stored = 0
    for (const batch of batches) {
      const entry = this.entry(batch.topic, batch.partition)
      const { body, encoding } = encodeForStore(batch.body)
      this.insertBatch.run(
        entry.id,
        entry.nextOffset,
        batch.recordCount,
        batch.timestampMs,
        encoding,
        checksum(body),
        body.length,
        body,
      )
      entry.nextOffset += batch.recordCount
      entry.storedBytes += body.length
      stored += body.length
      this.updatePartition.run(entry.nextOffset, entry.storedBytes, entry.id)
    }
    for (const { group, topic, partition, nextOffset } of offsets) {
      this.upsertOffset.run(group, this.entry(topic, partition).id, nextOffset)
    }
    return stored
  }

  private entry(topic: string, partition: number): PartitionEntry {
    const entry = this.partitions.get(`${topic}/${partition}`)
    if (entry === undefined) throw new Error(`no partition ${partition} of topic ${topic}`)
    return entry
  }

  private loadPartitions(): void {
    const rows = this.database
      .prepare(
        'SELECT id, topic, partition, next_offset AS nextOffset, stored_bytes AS storedBytes FROM partitions ORDER BY id',
      )
      .all() as PartitionEntry[]
    this.partitions.clear()
    this.byId.clear()
    for (const row of rows) {
      this.partitions.set(`${row.topic}/${row.partition}`, row)
      this.byId.set(row.id, row)
    }
  }
}

interface DoomedRow {
  readonly id: number
  readonly partition_id: number
  readonly record_count: number
  readonly timestamp_ms: number
  readonly body_bytes: number
}
