/** Limits and periods of the spool that are not settings, in one place. */

/** Room for the topic and the framing of one record on top of its payload, bytes; MQTT topics are at most 64 KiB. */
export const TOPIC_BYTES_MAX = 64 * 1024

/** Blocks returned by one read, however small they are. */
export const READ_ITEMS_MAX = 4096

/** Rows that one commit deletes for acknowledgements; the rest waits for the next commit, so none takes long. */
export const ACK_ROWS_PER_COMMIT_MAX = 2000

/** Ranges of pending acknowledgements kept per lane; further ones are dropped, and their blocks are sent again. */
export const PENDING_ACK_RANGES_MAX = 1024

/** How long an acknowledgement waits for a commit to travel with, milliseconds. */
export const ACK_DELAY_MS = 50

/** How often the spool looks after itself: age limit, free disk, clock steps, compaction. Milliseconds. */
export const TEND_PERIOD_MS = 1000

/** Compaction begins when the uplink has acknowledged nothing for this long, milliseconds. */
export const COMPACT_AFTER_MS = 5000

/** Body of a compacted block, bytes: about 300 records; larger ones compress hardly better. */
export const COMPACT_BODY_BYTES = 64 * 1024

/** Rows that one step of compaction looks at, so that a commit never waits long behind it. */
export const COMPACT_ROWS_PER_STEP_MAX = 512

/**
 * Pages of the write-ahead log before it is copied into the database file: 4 MiB. From then on it is overwritten in
 * place, which syncs twice as fast as growing it.
 */
export const CHECKPOINT_PAGES = 1024

/** Corrupt blocks kept for a post-mortem; the oldest is dropped. */
export const QUARANTINE_BLOCKS_MAX = 16

/** Damaged database files kept beside the spool; the oldest is removed. */
export const DAMAGED_FILES_MAX = 2

/** A wall clock that differs by more than this from what its boot learned later was wrong. Milliseconds. */
export const CLOCK_STEP_MS = 2000

/** A wall clock before 2020 was never set. Unix milliseconds. */
export const BELIEVABLE_WALL_MS = Date.UTC(2020, 0, 1)

/** Times of earlier boots are judged only by a wall clock that was not stepped for this long, milliseconds. */
export const CLOCK_SETTLED_MS = 5 * 60_000

/** A file with less than this in free pages is not worth shrinking, bytes. */
export const SHRINK_FREE_BYTES_MIN = 64 * 1024 * 1024

/** A spool with more than this in use is not shrunk, bytes: what is in use is copied. */
export const SHRINK_LIVE_BYTES_MAX = 4 * 1024 * 1024

/** How much too late the end of a gap may be told, milliseconds, to save reading the block that is given up. */
export const LATE_END_MS = 1000

/** Blocks given up for their age in one step, which reads many of them to tell when they end. */
export const EVICTED_BLOCKS_PER_STEP_MAX = 250

/** With less than this free on the disk, beyond what is left to others, the write-ahead log is kept short. Bytes. */
export const DISK_LOW_BYTES = 64 * 1024 * 1024

/**
 * The spool may grow to this whatever free space is to be left to others, bytes: with the uplink up, records only pass
 * through, and a gateway must not go deaf because someone filled its disk to the mark.
 */
export const WORKING_BYTES = 16 * 1024 * 1024

/** Read errors of the disk, in one process, after which the file is given up as unreadable. */
export const READ_ERRORS_MAX = 8

/** Free space that a commit leaves on the disk for the write-ahead log, bytes on top of twice its own size. */
export const DISK_SLACK_BYTES = 64 * 1024

/** With fewer records outstanding than this, a commit never waits for more. */
export const PACE_RECORDS_MIN = 2

/** A commit of this many bytes is worth its fsync and does not wait for more. */
export const PACE_BYTES = 64 * 1024

/** How long a commit waits for more, milliseconds: few devices notice the first, and under load none the second. */
export const PACE_LIGHT_MS = 2
export const PACE_BUSY_MS = 4

/** Records outstanding from which on it is the second. */
export const PACE_BUSY_RECORDS = 32

/** Block data of a lane kept in memory for an uplink that keeps up, bytes; the oldest goes. */
export const RECENT_BYTES_MAX = 512 * 1024

/** How long it counts as recent, milliseconds. */
export const RECENT_MS = 1000
