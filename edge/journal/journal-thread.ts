/** The thread's end of a journal: one transaction per group, one answer per transaction. */

import { messageOf } from '../../shared/errors.ts'
import { isDamage } from '../../shared/sqlite.ts'

declare const self: Worker

export type ToJournalThread<Change> =
  | { readonly kind: 'apply'; readonly path: string; readonly changes: readonly Change[] }
  | { readonly kind: 'close' }

export interface FromJournalThread<Result> {
  /** Null when the changes are on disk, all of them; otherwise none is. */
  readonly error: string | null
  /** One for each change; empty where changes have no results. */
  readonly results: readonly Result[]
  /** Name of the damaged file that was set aside for this group; null mostly. */
  readonly damagedFile: string | null
}

export interface JournalTables<Change, Result> {
  /** Applies all of `changes` or none, and syncs. A group may come again after a failure: it must not matter. */
  apply(changes: readonly Change[]): readonly Result[]
  close(): void
}

export interface JournalStore<Change, Result> {
  /** Opens or creates the file. Throws SQLite's own errors. */
  open(path: string): JournalTables<Change, Result>
  /** Moves a damaged file away and returns its new name. Without it, damage is an error like others. */
  setAside?(path: string): string
}

/** Answers the messages of a `GroupJournal`; to be called once by the entry module of the thread. */
export function serveJournal<Change, Result = void>(store: JournalStore<Change, Result>): void {
  let tables: JournalTables<Change, Result> | null = null

  const apply = (path: string, changes: readonly Change[]): readonly Result[] => {
    tables ??= store.open(path)
    return tables.apply(changes)
  }

  const replace = (path: string, setAside: (path: string) => string): string => {
    try {
      tables?.close()
    } catch {
      // A damaged database need not close cleanly; its file is renamed either way.
    }
    tables = null
    return setAside(path)
  }

  self.onmessage = ({ data }: MessageEvent<ToJournalThread<Change>>) => {
    let error: string | null = null
    let results: readonly Result[] = []
    let damagedFile: string | null = null
    try {
      if (data.kind === 'close') {
        tables?.close()
        tables = null
      } else {
        try {
          results = apply(data.path, data.changes)
        } catch (failure) {
          if (store.setAside === undefined || !isDamage(failure)) throw failure
          damagedFile = replace(data.path, store.setAside)
          results = apply(data.path, data.changes)
        }
      }
    } catch (failure) {
      error = messageOf(failure)
    }
    self.postMessage({ error, results, damagedFile } satisfies FromJournalThread<Result>)
  }
}
