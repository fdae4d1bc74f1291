/** The thread that writes sessions.db. */

import { serveJournal } from '../../journal/journal-thread.ts'
import { type SessionChange, SessionTables } from './session-tables.ts'

serveJournal<SessionChange>({
  open(path) {
    const tables = new SessionTables(path)
    return {
      apply(changes) {
        tables.apply(changes)
        return []
      },
      close: () => tables.close(),
    }
  },
})
