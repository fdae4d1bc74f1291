/** Lines of an export of the activity log: NDJSON, an entry a line as the API shows it, or CSV (RFC 4180). */

import { csvLine } from '../../shared/csv.ts'
import { type ActivityView, activityView } from './activity-view.ts'
import type { ActivityEntry } from './event.ts'

export const ACTIVITY_EXPORT_FORMATS = ['ndjson', 'csv'] as const
export type ActivityExportFormat = (typeof ACTIVITY_EXPORT_FORMATS)[number]

export interface EntryWriter {
  /** Before everything else; empty where there is none. */
  readonly head: string
  entries(entries: readonly ActivityEntry[]): string
}

const COLUMNS: readonly (keyof ActivityView)[] = [
  ...(['timestamp', 'eventId', 'userId', 'activityType', 'outcome', 'objectType', 'objectId', 'siteId'] as const),
  ...(['correlationId', 'recordedBy', 'source', 'version', 'storedAt', 'day', 'place', 'hash'] as const),
  ...(['sealed', 'metadata'] as const),
]

export function entryWriter(format: ActivityExportFormat): EntryWriter {
  if (format === 'ndjson') {
    return { head: '', entries: (entries) => linesOf(entries, (view) => `${JSON.stringify(view)}\n`) }
  }
  return {
    head: csvLine(COLUMNS),
    entries: (entries) => linesOf(entries, (view) => csvLine(COLUMNS.map((column) => view[column]))),
  }
}

function linesOf(entries: readonly ActivityEntry[], line: (view: ActivityView) => string): string {
  return entries.map((entry) => line(activityView(entry))).join('')
}
