/** Tables of the embedded log. A batch is one row of `batches`; `encoding` is explained in stored-body.ts. */

export const LOG_SCHEMA = `
  CREATE TABLE IF NOT EXISTS topics (
    topic TEXT PRIMARY KEY, partitions INTEGER NOT NULL, retention_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS partitions (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL, stored_bytes INTEGER NOT NULL, UNIQUE (topic, partition)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY, partition_id INTEGER NOT NULL, base_offset INTEGER NOT NULL,
    record_count INTEGER NOT NULL, timestamp_ms INTEGER NOT NULL, encoding INTEGER NOT NULL,
    checksum INTEGER NOT NULL, body_bytes INTEGER NOT NULL, body BLOB NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX IF NOT EXISTS batches_by_offset ON batches (partition_id, base_offset);
  CREATE TABLE IF NOT EXISTS group_offsets (
    consumer_group TEXT NOT NULL, partition_id INTEGER NOT NULL, next_offset INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, partition_id)
  ) STRICT, WITHOUT ROWID;
`
