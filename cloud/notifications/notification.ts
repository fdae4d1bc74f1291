/** One notification of one user: how it is named, stored, shown, and published on the topic `notifications`. */

import { createHash } from 'node:crypto'
import type { Selectable } from 'kysely'
import type { NotificationsTable } from '../database/schema-analytics.ts'
import type { Notice, NotificationType, Severity } from './notice.ts'
import type { Audience } from './preferences.ts'

export const NOTIFICATION_ID = /^ntf-[0-9a-f]{24}$/

/** What is stored of each text, characters; the rest is cut off. */
const TITLE_CHARS_MAX = 200
const CONTENT_CHARS_MAX = 4_000
const ENTITY_CHARS_MAX = 200
const KEY_CHARS_MAX = 500

/** Something to tell, of texts that can be stored, and who may want to hear of it. */
export interface Telling {
  readonly type: NotificationType
  readonly severity: Severity
  readonly title: string
  readonly content: string
  readonly relatedEntityId: string | null
  readonly siteId: number | null
  readonly key: string
  readonly atMs: number
  readonly audiences: readonly Audience[]
  /** See Notice. */
  readonly toldInPart?: { readonly title: string; readonly content: string }
}

export interface NotificationView {
  readonly id: string
  readonly userId: string
  readonly type: NotificationType
  readonly severity: Severity
  readonly title: string
  readonly content: string
  readonly relatedEntityId: string | null
  /** Where, when it is one site. */
  readonly siteId: number | null
  /** It came within the quiet hours of its user. */
  readonly quiet: boolean
  readonly readAtMs: number | null
  /** When it happened, and when it was stored, Unix milliseconds. */
  readonly atMs: number
  readonly createdAtMs: number
}

export type NotificationRow = Selectable<NotificationsTable>

/** The same notice for the same user has the same id whichever core makes it. */
export function notificationId(key: string, userId: string): string {
  return `ntf-${digest(`${key}\0${userId}`)}`
}

/** 24 hexadecimal digits. */
export function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 24)
}

export function tellingOf(notice: Notice): Telling {
  const { type, severity, siteIds, recipients, toldInPart } = notice
  return {
    type,
    severity,
    title: storable(notice.title, TITLE_CHARS_MAX),
    content: storable(notice.content, CONTENT_CHARS_MAX),
    relatedEntityId: notice.relatedEntityId === null ? null : storable(notice.relatedEntityId, ENTITY_CHARS_MAX),
    siteId: siteIds?.length === 1 ? (siteIds[0] as number) : null,
    key: notice.key,
    atMs: notice.atMs,
    audiences: [{ type, severity, siteIds: siteIds?.length === 0 ? null : siteIds, recipients }],
    ...(toldInPart === undefined
      ? {}
      : {
          toldInPart: {
            title: storable(toldInPart.title, TITLE_CHARS_MAX),
            content: storable(toldInPart.content, CONTENT_CHARS_MAX),
          },
        }),
  }
}

/** Text that PostgreSQL can hold: without NUL, and without half a surrogate pair, such as the cut may leave. */
export function storable(text: string, charsMax: number): string {
  const clean = text.replaceAll('\0', '')
  return (clean.length <= charsMax ? clean : `${clean.slice(0, charsMax - 1)}…`).toWellFormed()
}

/** Names of bursts are kept as they are as long as they fit. */
export function storableKey(key: string): string {
  const clean = storable(key, Number.POSITIVE_INFINITY)
  return clean.length <= KEY_CHARS_MAX && clean === key ? key : digest(key)
}

export function notificationView(row: NotificationRow): NotificationView {
  return {
    id: row.id,
    userId: row.user_id,
    type: row.type as NotificationType,
    severity: row.severity as Severity,
    title: row.title,
    content: row.content,
    relatedEntityId: row.related_entity_id,
    siteId: row.site_id,
    quiet: row.quiet === 1,
    readAtMs: row.read_at_ms,
    atMs: row.at_ms,
    createdAtMs: row.created_at_ms,
  }
}

/** The value of its record. What nobody has asked for yet nobody has read. */
export function encodeNotification(row: Omit<NotificationRow, 'read_at_ms'>): string {
  return JSON.stringify({
    id: row.id,
    userId: row.user_id,
    title: row.title,
    content: row.content,
    type: row.type,
    relatedEntityId: row.related_entity_id,
    read: false,
    createdAt: new Date(row.created_at_ms).toISOString(),
    severity: row.severity,
    siteId: row.site_id,
    quiet: row.quiet === 1,
    occurredAt: new Date(row.at_ms).toISOString(),
  })
}
