/** Entries of the activity log, its types and days, as lines for a terminal or a pipe. */

import { formatCount } from '../../shared/cli/format.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Paint, Terminal } from '../../shared/cli/terminal.ts'
import type { ActivityTypeEntry, Outcome } from '../activity/activity.ts'
import type { ActivityView } from '../activity/activity-view.ts'
import { RECORDER_SOURCE } from '../activity/event.ts'
import { visible } from './chat-text.ts'

/** A day of the chain, as the API shows it. */
export interface DayView {
  readonly day: string
  readonly entries: number
  readonly headHash: string
  readonly keyId: string
  readonly purgedAt: string | null
}

const HEADING = ['TIME', 'USER', 'TYPE', 'OUTCOME', 'OBJECT', 'SITE', 'ADDRESS', 'TOLD BY', 'EVENT']
/** Digits of a hash that tell it from others; in a pipe there are all. */
const HASH_SHOWN = 16

export function writeEntries(entries: readonly ActivityView[], terminal: Terminal): void {
  writeTable(
    terminal,
    HEADING,
    entries.map((entry) => rowOf(entry, terminal.paint)),
  )
}

/** One as it comes: where more follow nobody knows how wide a column gets. */
export function writeLine(entry: ActivityView, { out, paint, isInteractive }: Terminal): void {
  out(`${rowOf(entry, paint).join(isInteractive ? '  ' : '\t')}\n`)
}

export function writeEntry(entry: ActivityView, { out, paint }: Terminal): void {
  const row = (name: string, value: string | null) => {
    if (value !== null) out(`${paint.faint(name.padEnd(11))} ${value}\n`)
  }
  const text = (value: string | null) => (value === null ? null : visible(value))
  row('event', text(entry.eventId))
  row('user', text(entry.userId))
  row('type', text(entry.activityType))
  row('time', `${entry.timestamp}, stored ${entry.storedAt}`)
  row('outcome', entry.outcome === null ? null : paintOutcome(entry.outcome, paint))
  row('object', objectOf(entry))
  row('site', entry.siteId === null ? null : String(entry.siteId))
  row('correlation', text(entry.correlationId))
  row('recorded by', text(entry.recordedBy))
  row('source', text(entry.source))
  for (const [name, value] of Object.entries(entry.metadata)) {
    row('metadata', `${visible(name)}: ${visible(typeof value === 'string' ? value : JSON.stringify(value))}`)
  }
  if (entry.sealed)
    row('sealed', 'some of the metadata is encrypted, and shown to auditors alone, by a core that has its key')
  row('chain', `${entry.day}, place ${formatCount(entry.place)}, hash ${entry.hash}`)
}

export function writeTypes(types: readonly ActivityTypeEntry[], terminal: Terminal): void {
  const rows = types.map(({ type, origin, description }) => [type, origin, visible(description)])
  writeTable(terminal, ['TYPE', 'ORIGIN', 'MEANS'], rows)
}

export function writeDays(days: readonly DayView[], terminal: Terminal): void {
  const { isInteractive } = terminal
  const rows = days.map(({ day, entries, headHash, keyId, purgedAt }) => [
    day,
    isInteractive ? formatCount(entries) : String(entries),
    isInteractive ? headHash.slice(0, HASH_SHOWN) : headHash,
    keyId,
    purgedAt ?? '-',
  ])
  writeTable(terminal, ['DAY', 'ENTRIES', 'HEAD', 'KEY', 'PURGED'], rows)
}

function rowOf(entry: ActivityView, paint: Paint): string[] {
  const address = entry.metadata['ipAddress']
  return [
    entry.timestamp,
    visible(entry.userId),
    entry.activityType,
    entry.outcome === null ? '-' : paintOutcome(entry.outcome, paint),
    objectOf(entry) ?? '-',
    entry.siteId === null ? '-' : String(entry.siteId),
    typeof address === 'string' ? visible(address) : '-',
    visible(tellerOf(entry) ?? '-'),
    visible(entry.eventId),
  ]
}

/** Null of what the core saw itself; all of the others is as good as who told it. */
function tellerOf({ recordedBy, source }: ActivityView): string | null {
  return recordedBy ?? (source === RECORDER_SOURCE ? null : source)
}

function objectOf({ objectType, objectId }: ActivityView): string | null {
  const parts = [objectType, objectId].filter((part) => part !== null)
  return parts.length === 0 ? null : visible(parts.join('/'))
}

function paintOutcome(outcome: Outcome, paint: Paint): string {
  const style = { SUCCESS: paint.good, FAILURE: paint.bad, REFUSED: paint.caution }[outcome]
  return style(outcome)
}
