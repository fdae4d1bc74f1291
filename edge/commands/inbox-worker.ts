/** The thread that writes commands.db. */

import { setDamagedAside } from '../journal/damaged-file.ts'
import { serveJournal } from '../journal/journal-thread.ts'
import { openInbox } from './inbox-file.ts'
import type { InboxChange, InboxOutcome } from './inbox-tables.ts'

serveJournal<InboxChange, InboxOutcome>({ open: openInbox, setAside: setDamagedAside })
