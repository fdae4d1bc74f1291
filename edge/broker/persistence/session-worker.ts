/** The thread that writes sessions.db: one transaction per message, one answer per transaction. */

import { messageOf } from '../../../shared/errors.ts'
import { type SessionChange, SessionTables } from './session-tables.ts'

declare const self: Worker

export type ToSessionWorker =
  | { readonly kind: 'apply'; readonly path: string; readonly changes: SessionChange[] }
  | { readonly kind: 'close' }

/** `error` is null when the changes are on disk. */
export interface FromSessionWorker {
  readonly error: string | null
}

let tables: SessionTables | null = null

self.onmessage = ({ data }: MessageEvent<ToSessionWorker>) => {
  let error: string | null = null
  try {
    if (data.kind === 'apply') {
      tables ??= new SessionTables(data.path)
      tables.apply(data.changes)
    } else {
      tables?.close()
      tables = null
    }
  } catch (failure) {
    error = messageOf(failure)
  }
  self.postMessage({ error } satisfies FromSessionWorker)
}
