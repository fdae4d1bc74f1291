/** Notifications and what users want of them, as the API shows and takes them. */

import { type Static, Type } from '@sinclair/typebox'
import {
  NOTIFICATION_ID,
  NOTIFICATION_TYPES,
  type NotificationView,
  type Preferences,
  SEVERITIES,
  SITES_MAX,
  TIME_OF_DAY,
  type UnreadCount,
  USER_ID_PATTERN,
  WEEKDAYS,
} from '../../notifications/notifications.ts'
import { closed, InstantSchema, nullable, SiteIdSchema, TimeSchema, time, timeOrNull } from './common.ts'

export const UserIdSchema = Type.String({
  pattern: USER_ID_PATTERN.source,
  description: '1 to 128 letters, digits, ".", "_", "@", ":" or "-"',
})
export const NotificationIdSchema = Type.String({ pattern: NOTIFICATION_ID.source, description: 'Such as ntf-0a1b…' })
export const NotificationTypeSchema = Type.Union(NOTIFICATION_TYPES.map((type) => Type.Literal(type)))
export const NotificationSeveritySchema = Type.Union(SEVERITIES.map((severity) => Type.Literal(severity)))

/** What the topic and the API have in common. */
export const NOTIFICATION_MEMBERS = {
  id: NotificationIdSchema,
  userId: UserIdSchema,
  title: Type.String(),
  content: Type.String(),
  type: NotificationTypeSchema,
  relatedEntityId: nullable(Type.String({ description: 'The alert, device, gateway or task that it is about' })),
  read: Type.Boolean(),
  createdAt: TimeSchema,
  severity: NotificationSeveritySchema,
  siteId: nullable({ ...SiteIdSchema, description: 'Where it happened; null when that is not one site' }),
  quiet: Type.Boolean({ description: 'It came within the quiet hours of its user' }),
  occurredAt: { ...TimeSchema, description: 'When it happened; createdAt is when it was stored' },
}

export const NotificationSchema = Type.Object(
  { ...NOTIFICATION_MEMBERS, readAt: nullable(TimeSchema) },
  { ...closed, $id: 'Notification', description: 'Something that one user is told' },
)

export const UnreadCountSchema = Type.Object(
  {
    userId: UserIdSchema,
    unread: Type.Integer({ minimum: 0 }),
    changedAt: nullable({ ...TimeSchema, description: 'When one came or was read last' }),
  },
  { ...closed, $id: 'UnreadCount', description: 'How many notifications a user has not read' },
)

const TimeOfDaySchema = Type.String({ pattern: TIME_OF_DAY.source, description: 'HH:MM, 00:00 to 23:59' })
const QUIET_MEMBERS = {
  from: TimeOfDaySchema,
  to: { ...TimeOfDaySchema, description: 'HH:MM; when it is not later than from, of the next day' },
  timeZone: Type.String({ minLength: 1, maxLength: 64, description: 'IANA name, such as Europe/Berlin' }),
  days: Type.Optional(
    Type.Array(Type.Union(WEEKDAYS.map((day) => Type.Literal(day))), {
      minItems: 1,
      uniqueItems: true,
      description: 'Days on which they begin; absent for every day',
    }),
  ),
}
const CRITICAL_PASSES = 'CRITICAL is not quiet'
const TypePreferenceSchema = Type.Object({ enabled: Type.Boolean(), minSeverity: NotificationSeveritySchema }, closed)
const SitesSchema = nullable(
  Type.Array(SiteIdSchema, { maxItems: SITES_MAX, uniqueItems: true, description: 'null for all of them' }),
)
const SubscribedSchema = Type.Boolean({
  description: 'Told what happens at these sites; otherwise only what names the user',
})

export const PreferencesSchema = Type.Object(
  {
    subscribed: SubscribedSchema,
    types: Type.Object(Object.fromEntries(NOTIFICATION_TYPES.map((type) => [type, TypePreferenceSchema])), closed),
    sites: SitesSchema,
    quietHours: nullable(
      Type.Object({ ...QUIET_MEMBERS, exceptCritical: Type.Boolean({ description: CRITICAL_PASSES }) }, closed),
    ),
  },
  { ...closed, $id: 'NotificationPreferences', description: 'What a user is told of, and when it comes quietly' },
)

export const PreferenceChangesSchema = Type.Object(
  {
    subscribed: Type.Optional(SubscribedSchema),
    types: Type.Optional(
      Type.Partial(
        Type.Object(
          {
            NEW_MESSAGE: Type.Partial(TypePreferenceSchema),
            DEVICE_STATUS: Type.Partial(TypePreferenceSchema),
            TELEMETRY_ALERT: Type.Partial(TypePreferenceSchema),
            TASK_COMPLETED: Type.Partial(TypePreferenceSchema),
            GATEWAY_OFFLINE: Type.Partial(TypePreferenceSchema),
            SECURITY_ALERT: Type.Partial(TypePreferenceSchema),
          },
          closed,
        ),
      ),
    ),
    sites: Type.Optional(SitesSchema),
    quietHours: Type.Optional(
      nullable(
        Type.Object(
          {
            ...QUIET_MEMBERS,
            exceptCritical: Type.Optional(Type.Boolean({ default: true, description: CRITICAL_PASSES })),
          },
          closed,
        ),
      ),
    ),
  },
  { ...closed, $id: 'NotificationPreferenceChanges', description: 'Members that are absent stay as they are' },
)

export const ReadAllSchema = Type.Object(
  {
    before: Type.Optional({
      ...InstantSchema,
      description: `Those stored at that time or before; absent for all that are there. ${InstantSchema.description}`,
    }),
  },
  {
    ...closed,
    $id: 'ReadAll',
    description: 'With the createdAt of the newest one shown, one that came since stays unread',
  },
)
export const ReadAllResultSchema = Type.Object(
  { read: Type.Integer({ minimum: 0, description: 'How many were not read before' }) },
  { ...closed, $id: 'ReadAllResult' },
)

export function notificationBody(notification: NotificationView): Static<typeof NotificationSchema> {
  const { readAtMs, createdAtMs, atMs, ...members } = notification
  return {
    ...members,
    read: readAtMs !== null,
    createdAt: time(createdAtMs),
    occurredAt: time(atMs),
    readAt: timeOrNull(readAtMs),
  }
}

export function unreadBody({ userId, unread, changedAtMs }: UnreadCount): Static<typeof UnreadCountSchema> {
  return { userId, unread, changedAt: changedAtMs === 0 ? null : time(changedAtMs) }
}

export function preferencesBody(preferences: Preferences): Preferences {
  const { subscribed, types, sites, quietHours } = preferences
  return { subscribed, types, sites, quietHours }
}
