/** The thread that writes sessions.db. */

import { serveJournal } from '../../journal/journal-thread.ts'
import { type SessionChange, SessionTables } from './session-tables.ts'

serveJournal<SessionChange>({ open: (path) => new SessionTables(path) })
