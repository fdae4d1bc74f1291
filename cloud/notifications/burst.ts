/**
 * Many notices that come at once and have one cause: the first few are told one by one, the others are held and told together
 * when the window ends. Pure; the store keeps a burst in a row that its core holds locked.
 */

import { type Notice, type NotificationType, type Severity, SUBSCRIBERS } from './notice.ts'
import { digest, storable, storableKey, type Telling, tellingOf } from './notification.ts'
import { type Audience, highest, SITES_MAX } from './preferences.ts'

export type BurstNotice = Notice & { readonly burst: NonNullable<Notice['burst']> }

export interface BurstSettings {
  /** Notices of one window that are told one by one. */
  readonly burstNotices: number
  /** The same for alerts, of which each matters more. */
  readonly alertBurstNotices: number
  readonly burstWindowMs: number
}

export interface Burst {
  readonly startedAtMs: number
  readonly endsAtMs: number
  /** Told one by one. */
  readonly told: number
  readonly held: Held | null
}

/** What is held, of bounded size however much it is. */
export interface Held {
  /** Of the first one. No notice is held twice, so neither is a summary told twice. */
  readonly key: string
  readonly type: NotificationType
  readonly subject: string
  /** Notices. */
  readonly count: number
  readonly severity: Severity
  /** Null when it is not the same for all. */
  readonly relatedEntityId: string | null
  /** The first that came, each with what was said of it last. */
  readonly names: readonly (readonly [entity: string, label: string])[]
  /** Digests of others. */
  readonly others: readonly string[]
  /** Notices of still others. */
  readonly uncounted: number
  /** When the last one happened. */
  readonly atMs: number
  readonly audiences: readonly Audience[]
}

export interface Gathered {
  readonly burst: Burst
  /** To be told one by one. */
  readonly told: readonly BurstNotice[]
  readonly heldCount: number
  /** Of a window that ended without anybody looking. */
  readonly summary: Telling | null
}

/** Things named in a summary. */
const NAMES_MAX = 20
/** Further things that are told apart, so that one that comes several times counts once. */
const OTHERS_MAX = 1_000
/** People named by what is held; a notice that names another one is told on its own. */
const RECIPIENTS_MAX = 1_000
const LABEL_CHARS_MAX = 100
const SUBJECT_CHARS_MAX = 120

/** One burst has one type, so that its summary has. */
export function burstKey({ type, burst }: BurstNotice): string {
  return `${type}/${storableKey(burst.key)}`
}

/** @param notices of one burst, none of which came before. */
export function gather(
  before: Burst | null,
  notices: readonly BurstNotice[],
  nowMs: number,
  settings: BurstSettings,
): Gathered {
  const isOver = before === null || hasEnded(before, nowMs)
  let burst: Burst = isOver
    ? { startedAtMs: nowMs, endsAtMs: nowMs + settings.burstWindowMs, told: 0, held: null }
    : before
  const told: BurstNotice[] = []
  for (const notice of notices) {
    const held = burst.told < toldAtMost(notice.type, settings) ? null : hold(burst.held, notice)
    if (held === null) told.push(notice)
    burst = held === null ? { ...burst, told: burst.told + 1 } : { ...burst, held }
  }
  const summary = isOver && before?.held != null ? summaryOf(before.held) : null
  return { burst, told, heldCount: notices.length - told.length, summary }
}

function toldAtMost(type: NotificationType, { burstNotices, alertBurstNotices }: BurstSettings): number {
  return type === 'TELEMETRY_ALERT' ? alertBurstNotices : burstNotices
}

/** A window that seems to begin long after now was opened before the clock was set back. */
export function hasEnded({ startedAtMs, endsAtMs }: Burst, nowMs: number): boolean {
  return endsAtMs <= nowMs || startedAtMs - nowMs > endsAtMs - startedAtMs
}

export function summaryOf(held: Held): Telling {
  const title = titleOf(held)
  const unnamed = held.others.length + held.uncounted
  const labels = held.names.map(([, label]) => label).join(', ')
  const sites = held.audiences.every(({ siteIds }) => siteIds !== null)
    ? [...new Set(held.audiences.flatMap(({ siteIds }) => siteIds ?? []))]
    : null
  const notice: Notice = {
    type: held.type,
    severity: held.severity,
    title,
    content: `${title}: ${labels}${unnamed === 0 ? '' : `, and ${unnamed} more`}`,
    relatedEntityId: held.relatedEntityId,
    siteIds: sites,
    key: `burst/${held.key}`,
    // The audiences say it better.
    recipients: SUBSCRIBERS,
    atMs: held.atMs,
  }
  return { ...tellingOf(notice), audiences: held.audiences }
}

/** An alert that opened and closed is one, whereas each change of a status is a change. */
function titleOf({ type, subject, count, names, others, uncounted }: Held): string {
  if (type === 'SECURITY_ALERT') return `${count} more of: ${subject}`
  if (type !== 'TELEMETRY_ALERT') return `${count} more ${count === 1 ? 'change' : 'changes'} at ${subject}`
  const alerts = names.length + others.length + uncounted
  return `${alerts} more ${alerts === 1 ? 'alert' : 'alerts'} of ${subject}`
}

/** Null when it does not fit. */
function hold(held: Held | null, notice: BurstNotice): Held | null {
  const audiences = joined(held?.audiences ?? [], tellingOf(notice).audiences)
  if (audiences === null) return null
  const label = storable(notice.burst.label, LABEL_CHARS_MAX)
  const relatedEntityId = tellingOf(notice).relatedEntityId
  const { names = [], others = [], uncounted = 0 } = held ?? {}
  return {
    key: held?.key ?? digest(notice.key),
    type: notice.type,
    subject: held?.subject ?? storable(notice.burst.subject, SUBJECT_CHARS_MAX),
    count: (held?.count ?? 0) + 1,
    severity: highest(held?.severity ?? notice.severity, notice.severity),
    relatedEntityId: held === null || held.relatedEntityId === relatedEntityId ? relatedEntityId : null,
    ...named({ names, others, uncounted }, relatedEntityId ?? label, label),
    atMs: Math.max(held?.atMs ?? notice.atMs, notice.atMs),
    audiences,
  }
}

/** What went away and came back is named once, with what was said of it last. */
function named(
  { names, others, uncounted }: Pick<Held, 'names' | 'others' | 'uncounted'>,
  entity: string,
  label: string,
): Pick<Held, 'names' | 'others' | 'uncounted'> {
  if (names.some(([known]) => known === entity)) {
    return { names: names.map((name) => (name[0] === entity ? ([entity, label] as const) : name)), others, uncounted }
  }
  if (names.length < NAMES_MAX) return { names: [...names, [entity, label]], others, uncounted }
  const other = digest(entity)
  if (others.includes(other)) return { names, others, uncounted }
  if (others.length < OTHERS_MAX) return { names, others: [...others, other], uncounted }
  return { names, others, uncounted: uncounted + 1 }
}

/** Audiences of one severity and one kind are one; null when they become too large. */
function joined(audiences: readonly Audience[], more: readonly Audience[]): Audience[] | null {
  const all = [...audiences]
  for (const added of more) {
    const at = all.findIndex((each) => sameKind(each, added))
    if (at === -1) {
      all.push(added)
      continue
    }
    const known = all[at] as Audience
    const siteIds = known.siteIds && [...new Set([...known.siteIds, ...(added.siteIds ?? [])])]
    const userIds = [...new Set([...known.recipients.userIds, ...added.recipients.userIds])]
    all[at] = { ...known, siteIds, recipients: { ...known.recipients, userIds } }
  }
  const fits = all.every(
    ({ siteIds, recipients }) => (siteIds?.length ?? 0) <= SITES_MAX && recipients.userIds.length <= RECIPIENTS_MAX,
  )
  return fits ? all : null
}

function sameKind(one: Audience, other: Audience): boolean {
  return (
    one.severity === other.severity &&
    (one.siteIds === null) === (other.siteIds === null) &&
    one.recipients.subscribers === other.recipients.subscribers
  )
}
