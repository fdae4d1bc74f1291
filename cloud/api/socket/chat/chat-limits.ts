/** What one socket can ask of conversations, and what is kept for it. */

/** Conversations of one frame that resumes; more are asked for with another one. */
export const RESUME_MAX = 1_000
/** Frames of one socket that are no messages: so many a second, and at once after a pause; more are refused with the time to wait. */
export const FRAMES_PER_SECOND = 20
export const FRAMES_BURST = 60
/** What a frame that resumes costs of that. */
export const RESUME_COST = 5
/** Frames of one socket that wait to be answered; one more is refused. */
export const UNANSWERED_MAX = 100
/** Frames that resume before the subscription was answered; one more is refused. */
export const RESUMES_EARLY_MAX = 10
/** After its subscription a socket is sent no messages for so long, unless it says from where it resumes, milliseconds. */
export const HOLD_MS = 1_000
/** A frame that resumes is answered after so long even if more is to come, milliseconds. */
export const RESUME_ANSWER_MS = 5_000
/** Questions to the database of all sockets at once, for what they missed. */
export const READS_MAX = 8
/** Changes of one such question, for a socket that takes them all at once and for one that hardly takes any. */
export const READ_PAGE = 100
export const READ_PAGE_MIN = 4
/** How often the sockets are compared with the database, and how long what it has may be on the way, milliseconds. */
export const COMPARE_MS = 30_000
export const COMPARE_GRACE_MS = 2_000
/** Comparisons reach so far back behind the one before: clocks of cores differ by less, and so does a transaction from its end, milliseconds. */
export const COMPARE_REACH_MS = 120_000
/** Users of one such question. */
export const COMPARE_USERS = 500
/** Pings of one socket that are not answered yet; what comes meanwhile goes with the next one. */
export const PINGS_MAX = 4
/** Messages of one socket that wait for their ping; of more the last one of each conversation. */
export const UNPINGED_MAX = 1_000
/** Records about typing that are on their way to the bus; one more is left out. */
export const TYPING_IN_FLIGHT_MAX = 100
/** People typing that a core remembers: of more senders the first are forgotten, and no more are shown. */
export const TYPING_MAX = 10_000
/** How often it is looked who has stopped typing, milliseconds. */
export const TYPING_SWEEP_MS = 250
/** How often changes of who is there are asked for, milliseconds, how many at once, and how far each look reaches back. */
export const PRESENCE_POLL_MS = 1_500
export const PRESENCE_PAGE = 500
export const PRESENCE_REACH_MS = 3_000
/** Sockets that a slice of events reaches before other work gets its turn. */
export const SLICE_DELIVERIES = 5_000
/** Members of conversations of whom a core remembers how far it told that messages have come; of more the first are forgotten. */
export const STATUSES_TOLD_MAX = 20_000
