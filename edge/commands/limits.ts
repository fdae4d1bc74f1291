/** Limits and periods of the inbox that are not settings, in one place. */

/** Facts that wait for the spool's commit at one time; further ones wait on disk. */
export const FACTS_IN_FLIGHT_MAX = 256

/** How often deadlines are looked at, milliseconds. That nothing goes out late is checked when it goes out. */
export const TICK_MS = 1_000

/** Commands that one such look ends; the others end with the next, so that the thread's messages stay small. */
export const TICK_ENDINGS_MAX = 5_000

/** How often finished ids that are old enough are removed, milliseconds. */
export const PURGE_PERIOD_MS = 3_600_000

/** Rows that one purge removes, so that no command waits long behind it; the rest follows at once. */
export const PURGE_ROWS_MAX = 5_000

/** Packet identifiers of a session that are kept from being used again; beyond it the oldest is free. */
export const HELD_IDS_MAX = 1_000

/** Sessions of which that is remembered; beyond it the oldest is forgotten. */
export const HELD_SESSIONS_MAX = 100_000

/** Steps of commands that may wait for a disk that refuses, for each open command there may be. */
export const CHANGES_PER_COMMAND_MAX = 8

/** First and longest wait before a fact is offered again to a spool that refused it, milliseconds. */
export const TELL_BACKOFF = { baseMs: 200, capMs: 10_000 }
