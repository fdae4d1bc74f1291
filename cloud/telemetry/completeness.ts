/**
 * Whether all readings of a stretch of time are here: what arrived, what gateways still hold, what they gave up. Gateways
 * count what they hold and give up for all their devices together, so of a single device these are upper bounds.
 */

import type { Stretch } from './series-plan.ts'

export const VERDICTS = ['COMPLETE', 'INCOMPLETE', 'PENDING', 'UNKNOWN'] as const
/**
 * COMPLETE: whatever the gateways received has arrived. INCOMPLETE: some of it was given up. PENDING: some is on its way.
 * UNKNOWN: nobody can say.
 */
export type Verdict = (typeof VERDICTS)[number]

/** Records given up for one reason. */
export interface Loss {
  readonly reason: string
  readonly records: number
  readonly gaps: number
}

/** Records that a gateway gave up, all of one range of its sequences. */
export interface LostRange {
  readonly recordCount: number
  readonly reason: string
  /** When the gateway gave them up, its clock, Unix milliseconds. */
  readonly givenUpAtMs: number
  /** When the first and the last of them were received, its clock; null when it did not tell. */
  readonly fromMs: number | null
  readonly toMs: number | null
}

export interface GatewayShare {
  readonly gatewayId: string
  /** Null when the gateway is not registered any more, or never connected. */
  readonly connected: boolean | null
  readonly lastSeenAtMs: number | null
  readonly backlog: { readonly records: number; readonly bytes: number; readonly oldestMs: number | null } | null
  /** Given up within the stretch. */
  readonly lost: readonly Loss[]
  /** Given up since the begin of the stretch by a gateway that does not tell when they were received. */
  readonly lostAtUnknownTime: readonly Loss[]
  /** Of both, the newest. */
  readonly gaps: readonly LostRange[]
}

export interface Arrived {
  readonly records: number
  /** Readings of all devices, at any time, that are here and not counted yet. */
  readonly uncounted: number
  /** Event times of the first and the last; null when there are none. */
  readonly firstMs: number | null
  readonly lastMs: number | null
  /** Length of the buckets, which begin at multiples of it. */
  readonly bucketMs: number
  readonly buckets: readonly { readonly atMs: number; readonly records: number }[]
}

/** What reached the bus, and did not get from there into the database, at any time. */
export interface Underway {
  /** Why analytics of this core takes nothing in, or null, and how far it is behind the bus, milliseconds. */
  readonly failing: string | null
  readonly behindMs: number
  /** Readings under the serial numbers of the devices that analytics has set aside, to be tried again. */
  readonly setAside: number
  /** Dead letters of theirs since the begin of the stretch, which a replay may bring in; counted up to `DEAD_LETTERS_MAX`. */
  readonly deadLetters: number
}

export interface Judgement {
  readonly verdict: Verdict
  /** Why, in sentences. */
  readonly why: string
}

/**
 * What gateways tell of the last so many milliseconds is not known yet: they report every 5 s, the report is written within
 * 2 s, and roll-ups follow.
 */
export const SETTLING_MS = 15_000
/** Until the first report of a gateway that has just connected is there, milliseconds. */
export const FIRST_REPORT_MS = 8_000
/** Analytics that is further behind the bus, milliseconds, may not have what gateways hold no more: more than `SETTLING_MS` covers. */
const BEHIND_MS = 5_000
/** For how long a dead link may go unnoticed: 10 s until it is asked, 20 s for the answer. */
const DEAD_LINK_MS = 30_000
/** More dead letters are not counted. */
export const DEAD_LETTERS_MAX = 1_000

/** The end of what can be judged at `nowMs`; not after `fromMs` when nothing can. */
export function judgedUntil({ fromMs, toMs }: Stretch, nowMs: number): number {
  return Math.max(fromMs, Math.min(toMs, nowMs - SETTLING_MS))
}

/** Whether what a gateway holds may have been received before `untilMs`. */
export function mayConcern(backlog: GatewayShare['backlog'], untilMs: number): boolean {
  return backlog !== null && backlog.records > 0 && (backlog.oldestMs === null || backlog.oldestMs < untilMs)
}

/**
 * The worst that is known decides: lost, then on its way, then unknown.
 * @param keptSinceMs readings before it are deleted.
 */
export function judge(
  stretch: Stretch,
  gateways: readonly GatewayShare[],
  underway: Underway,
  nowMs: number,
  keptSinceMs: number,
): Judgement {
  const untilMs = judgedUntil(stretch, nowMs)
  if (untilMs <= stretch.fromMs) return { verdict: 'UNKNOWN', why: 'The stretch has only just begun, or lies ahead.' }
  const lost = gateways.flatMap((gateway) => sentence(gateway.lost, `${gateway.gatewayId} gave up`))
  const pending = [...gateways.flatMap((gateway) => pendingSentence(gateway, untilMs)), ...underwaySentences(underway)]
  const unknown = unknownSentences(gateways, untilMs)
  if (underway.deadLetters > 0) {
    const count = underway.deadLetters < DEAD_LETTERS_MAX ? underway.deadLetters : `${DEAD_LETTERS_MAX} or more`
    unknown.push(`Dead letters that were not replayed, perhaps with readings of the stretch: ${count}.`)
  }
  if (stretch.fromMs < keptSinceMs) {
    unknown.push(`Readings from before ${time(keptSinceMs)} are not kept, so they are not counted.`)
  }
  const verdict =
    lost.length > 0 ? 'INCOMPLETE' : pending.length > 0 ? 'PENDING' : unknown.length > 0 ? 'UNKNOWN' : 'COMPLETE'
  const whole = verdict === 'COMPLETE' ? ['Whatever the gateway received has arrived, and nothing was given up.'] : []
  const unsettled = untilMs < stretch.toMs ? [`What came after ${time(untilMs)} is not judged yet.`] : []
  return { verdict, why: [...whole, ...lost, ...pending, ...unknown, ...unsettled].join(' ') }
}

function sentence(losses: readonly Loss[], whoDid: string, when = 'of the stretch'): string[] {
  if (losses.length === 0) return []
  const named = losses.map(({ records, reason }) => `${records} (${reason})`).join(', ')
  return [`Gateway ${whoDid} records ${when}, of all its devices together: ${named}.`]
}

function pendingSentence({ gatewayId, connected, lastSeenAtMs, backlog }: GatewayShare, untilMs: number): string[] {
  if (backlog === null || !mayConcern(backlog, untilMs)) return []
  const oldest = backlog.oldestMs === null ? '' : `, the oldest received at ${time(backlog.oldestMs)}`
  const link = connected === true ? 'and is connected' : `and is not connected since ${timeOrNever(lastSeenAtMs)}`
  return [
    `Gateway ${gatewayId} holds ${backlog.records} records of all its devices that are on their way${oldest}, ${link}.`,
  ]
}

function underwaySentences({ failing, behindMs, setAside }: Underway): string[] {
  const sentences: string[] = []
  if (failing !== null) sentences.push(`Analytics takes no readings in at the moment: ${failing}.`)
  else if (behindMs > BEHIND_MS) sentences.push(`Analytics is ${Math.round(behindMs / 1000)} s behind the bus.`)
  if (setAside > 0) sentences.push(`Readings that analytics failed to take in and will try again: ${setAside}.`)
  return sentences
}

function unknownSentences(gateways: readonly GatewayShare[], untilMs: number): string[] {
  if (gateways.length === 0) return ['No gateway is known to send for it.']
  return gateways.flatMap((gateway) => {
    const { gatewayId, connected, lastSeenAtMs, backlog, lostAtUnknownTime } = gateway
    const sentences = sentence(
      lostAtUnknownTime,
      `${gatewayId} gave up`,
      'at a time that it does not tell, perhaps of the stretch',
    )
    if (backlog === null) sentences.push(`Gateway ${gatewayId} has not said yet what it holds, since it connected.`)
    // A link that dies is noticed later: for so long the gateway counted as connected, though nothing was heard of it.
    const heardUntilMs =
      lastSeenAtMs === null ? -Infinity : connected === true ? lastSeenAtMs : lastSeenAtMs - DEAD_LINK_MS
    if (heardUntilMs < untilMs) {
      const state = connected === true ? 'was last heard of at' : 'is not connected since'
      const since = timeOrNever(lastSeenAtMs)
      sentences.push(`Gateway ${gatewayId} ${state} ${since}: what it received after that is not known.`)
    }
    return sentences
  })
}

function time(ms: number): string {
  return new Date(ms).toISOString()
}

function timeOrNever(ms: number | null): string {
  return ms === null ? 'ever' : time(ms)
}
