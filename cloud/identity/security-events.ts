/**
 * What looks like somebody who does not belong: one seam for whoever notices. Every event is counted; the log gets a line of
 * each kind and subject once in a while, and of the grave ones the administrators are told as often.
 */

import { putLast } from '../../shared/bounded.ts'
import type { Clock } from '../../shared/clock.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import { retry } from '../../shared/retry.ts'
import { aborted } from '../../shared/waiting.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { isRetryable } from '../database/failure.ts'
import { storableReason } from '../database/stored-text.ts'
import type { Notice, Notifier, Severity } from '../notifications/notifications.ts'
import { overseers } from './overseers.ts'

/** The title of what administrators are told, and how much it matters; null for what anybody can cause at will. */
const KINDS = {
  'access-token-forged': null,
  'refresh-token-reused': ['CRITICAL', 'A login was stolen, or its token sent twice: it has been ended'],
  'user-locked-out': ['WARNING', 'A user is locked out after wrong passwords'],
  'address-locked-out': ['WARNING', 'An address is locked out after wrong passwords of many users'],
  'administrator-made': ['WARNING', 'Somebody has become an administrator of everything'],
  'link-refused': null,
  'api-key-refused': null,
  'oidc-refused': null,
  'enrolment-token-refused': null,
  'enrolment-token-reused': ['CRITICAL', 'An enrolment token was redeemed a second time'],
  'gateway-certificate-refused': null,
  'gateway-certificate-revoked': ['CRITICAL', 'A gateway dials in with a certificate that was revoked'],
  'gateway-impersonated': ['CRITICAL', 'A gateway claims to be another one'],
  'site-foreign': ['CRITICAL', 'A gateway sends for a site that is not its own'],
} as const satisfies Readonly<Record<string, readonly [Severity, string] | null>>

export type SecurityEventKind = keyof typeof KINDS

export interface SecurityEvent {
  readonly kind: SecurityEventKind
  /** Whom or what it is about: a user, a gateway, a key. Never a secret. */
  readonly subject: string
  /** One sentence of what happened. Never a secret. */
  readonly detail: string
  /** Where it came from. */
  readonly address?: string | null
}

/** For whoever notices something. */
export type SecurityNotes = Pick<SecurityEvents, 'note'>

export interface SecurityEventsOptions {
  readonly database: DatabaseHandle
  readonly notifier: Notifier
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

/** The same kind and subject is told once in this time, milliseconds. */
const WINDOW_MS = 600_000
/** Kinds and subjects remembered; at the limit the one told longest ago is told again if it goes on. */
const REMEMBERED_MAX = 1_000
/** Lines and notices of one kind within a window, whatever the subjects. */
const TOLD_OF_A_KIND_MAX = 20
/** Notices that wait for the database; at the limit the newest is only logged. */
const WAITING_MAX = 100
const SUBJECT_CHARS_MAX = 128
const BACKOFF = { baseMs: 500, capMs: 30_000 }

interface Told {
  readonly atMs: number
  /** Of the same kind and subject since. */
  more: number
}

export class SecurityEvents implements Part {
  readonly name = 'security events'
  private readonly options: SecurityEventsOptions
  private readonly counts = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, 0])) as Record<
    SecurityEventKind,
    number
  >
  private readonly told = new Map<string, Told>()
  private readonly waiting = new Set<Promise<void>>()
  private readonly stopping = new AbortController()

  constructor(options: SecurityEventsOptions) {
    this.options = options
  }

  async start(): Promise<void> {}

  /** What waits for the database is tried until the deadline. */
  async stop(deadline: AbortSignal): Promise<void> {
    await Promise.race([Promise.all(this.waiting), aborted(deadline)])
    this.stopping.abort()
    await Promise.all(this.waiting)
  }

  /** Never throws and never waits: what is noticed goes on being refused, whatever becomes of the note. */
  note(event: SecurityEvent): void {
    const { kind, detail, address = null } = event
    this.counts[kind]++
    const subject = shown(event.subject)
    const before = this.admit(kind, subject)
    if (before === null) return
    const { log } = this.options
    const since = before > 0 ? { again: before } : {}
    log.warn({ security: kind, subject, ...(address === null ? {} : { address }), ...since }, shownDetail(detail))
    const grave = KINDS[kind]
    if (grave === null) return
    if (this.waiting.size >= WAITING_MAX) {
      log.error({ security: kind, subject }, 'too many security alerts wait for the database; this one is only logged')
      return
    }
    const told = this.tell(noticeOf({ ...event, subject }, grave, this.options.clock.wallMs())).finally(() => {
      this.waiting.delete(told)
    })
    this.waiting.add(told)
  }

  /** Since the start. */
  stats(): Readonly<Record<SecurityEventKind, number>> {
    return { ...this.counts }
  }

  /** How many of the same were kept quiet since the last one that was told; null when this one is, too. */
  private admit(kind: SecurityEventKind, subject: string): number | null {
    const nowMs = this.options.clock.monotonicMs()
    const key = `${kind} ${subject}`
    const last = this.told.get(key)
    if (last !== undefined && nowMs - last.atMs < WINDOW_MS) {
      last.more++
      return null
    }
    let ofKind = 0
    for (const [each, { atMs }] of this.told) {
      if (nowMs - atMs >= WINDOW_MS && each !== key) this.told.delete(each)
      else if (each.startsWith(`${kind} `)) ofKind++
    }
    if (ofKind >= TOLD_OF_A_KIND_MAX) return null
    putLast(this.told, key, { atMs: nowMs, more: 0 }, REMEMBERED_MAX)
    return last?.more ?? 0
  }

  /** Never rejects. */
  private async tell(notice: Omit<Notice, 'recipients'>): Promise<void> {
    const { database, notifier, clock, random, log } = this.options
    const store = () =>
      database.transaction(async (transaction) => {
        const userIds = await overseers(['admin'], transaction)
        // Subscribers of a site are no administrators: what an attacker did is none of their business.
        const recipients = { userIds, subscribers: false }
        if (userIds.length > 0) await notifier.notify([{ ...notice, recipients }], transaction)
      })
    try {
      await retry(store, { clock, random, backoff: BACKOFF, signal: this.stopping.signal, isRetryable })
      notifier.nudge()
    } catch (error) {
      const code = error instanceof BusbarError ? { code: error.code } : {}
      log.error({ notice: notice.title, error: messageOf(error), ...code }, 'administrators could not be told')
    }
  }
}

function noticeOf(
  { kind, subject, detail, address = null }: SecurityEvent,
  [severity, title]: readonly [Severity, string],
  nowMs: number,
): Omit<Notice, 'recipients'> {
  return {
    type: 'SECURITY_ALERT',
    severity,
    title,
    content: `${subject}: ${shownDetail(detail)}${address === null ? '' : ` (from ${address})`}`,
    relatedEntityId: subject,
    siteIds: null,
    // Two cores that notice the same tell it once.
    key: `security/${kind}/${subject}/${Math.floor(nowMs / WINDOW_MS)}`,
    burst: { key: `security/${kind}`, subject: title, label: subject },
    atMs: nowMs,
  }
}

/** What a stranger chose may end up in a subject: it is one short line. */
function shown(subject: string): string {
  const line = subject.toWellFormed().replace(/[\p{Cc}\u2028\u2029]/gu, '?')
  return line.slice(0, SUBJECT_CHARS_MAX).toWellFormed()
}

function shownDetail(detail: string): string {
  return storableReason(detail) as string
}
