/** What users are told, over REST: listed, read, and what they want to be told of. */

import { Type } from '@sinclair/typebox'
import type { Caller } from '../../identity/identity.ts'
import type { Notifications } from '../../notifications/notifications.ts'
import { includesSite } from '../../registry/site-scope.ts'
import { notFound } from '../http/problem.ts'
import { defineRoute, type Reply, type Route } from '../http/route.ts'
import { invalidInput } from '../http/validation.ts'
import { closed, instant, PAGE_QUERY, pageBody, pageSchema } from '../schemas/common.ts'
import {
  NotificationIdSchema,
  NotificationSchema,
  NotificationSeveritySchema,
  NotificationTypeSchema,
  notificationBody,
  PreferenceChangesSchema,
  PreferencesSchema,
  preferencesBody,
  ReadAllResultSchema,
  ReadAllSchema,
  UnreadCountSchema,
  UserIdSchema,
  unreadBody,
} from '../schemas/notification.ts'

const UserParams = Type.Object({ userId: UserIdSchema })
const NotificationParams = Type.Object({ userId: UserIdSchema, id: NotificationIdSchema })
const ReadBody = Type.Object({}, { ...closed, $id: 'NotificationRead' })

const OWN = '/api/v1/users/:userId'
const tag = 'notifications'
const SEEN = 'a site that you may see; GET /api/v1/sites lists them'
const permission = { role: 'viewer', scope: 'self' } as const

export function notificationRoutes(options: {
  readonly notifications: Pick<Notifications, 'inbox' | 'preferences'>
}): Route[] {
  return [...inboxRoutes(options.notifications), ...preferenceRoutes(options.notifications)]
}

function inboxRoutes({ inbox }: Pick<Notifications, 'inbox'>): Route[] {
  return [
    defineRoute(
      {
        method: 'GET',
        path: `${OWN}/notifications`,
        operationId: 'listNotifications',
        tag,
        summary: 'What a user was told, the newest first, all of it or what matches every criterion given',
        permission,
        params: UserParams,
        query: Type.Object(
          {
            ...PAGE_QUERY,
            unread: Type.Optional(Type.Boolean({ description: 'true for those not read, false for those read' })),
            type: Type.Optional(NotificationTypeSchema),
            severity: Type.Optional(NotificationSeveritySchema),
          },
          closed,
        ),
        responses: { 200: { description: 'A page of notifications', schema: pageSchema(NotificationSchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ params, query }) => {
        return { status: 200, body: pageBody(await inbox.list(params.userId, query), notificationBody) }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: `${OWN}/notifications/unread-count`,
        operationId: 'countUnreadNotifications',
        tag,
        summary: 'How many notifications a user has not read',
        description: 'The live channel unread tells of each change of it.',
        permission,
        params: UserParams,
        responses: { 200: { description: 'The count', schema: UnreadCountSchema } },
        problems: ['UNAVAILABLE'],
      },
      async ({ params }) => ({ status: 200, body: unreadBody(await inbox.unreadCount(params.userId)) }),
    ),
    defineRoute(
      {
        method: 'POST',
        path: `${OWN}/notifications/:id/read`,
        operationId: 'readNotification',
        tag,
        summary: 'Mark a notification as read',
        description: 'One that is read already stays as it is.',
        permission,
        params: NotificationParams,
        body: ReadBody,
        bodyOptional: true,
        idempotent: true,
        responses: { 200: { description: 'The notification', schema: NotificationSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { userId, id }, remember }) => {
        const reply = (body: unknown): Reply => ({ status: 200, body })
        const notification = await inbox.markRead(userId, id, async (read, transaction) => {
          await remember?.(reply(notificationBody(read)), transaction)
        })
        // One of another user is told of no more than one that does not exist.
        if (notification === null) throw notFound('notification', id)
        return reply(notificationBody(notification))
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: `${OWN}/notifications/read-all`,
        operationId: 'readAllNotifications',
        tag,
        summary: 'Mark all notifications of a user as read, or those up to a time',
        permission,
        params: UserParams,
        body: ReadAllSchema,
        bodyOptional: true,
        idempotent: true,
        responses: { 200: { description: 'Done', schema: ReadAllResultSchema } },
        problems: ['UNAVAILABLE'],
      },
      async ({ params: { userId }, body, remember }) => {
        const reply = (read: number): Reply => ({ status: 200, body: { read } })
        const read = await inbox.markAllRead(userId, instant(body.before) ?? null, async (marked, transaction) => {
          await remember?.(reply(marked), transaction)
        })
        return reply(read)
      },
    ),
  ]
}

function preferenceRoutes({ preferences }: Pick<Notifications, 'preferences'>): Route[] {
  const path = `${OWN}/notification-preferences`
  return [
    defineRoute(
      {
        method: 'GET',
        path,
        operationId: 'getNotificationPreferences',
        tag,
        summary: 'What a user is told of, and when it comes quietly',
        description: 'Who has not changed anything is told what names them and nothing else.',
        permission,
        params: UserParams,
        responses: { 200: { description: 'The preferences', schema: PreferencesSchema } },
        problems: ['UNAVAILABLE'],
      },
      async ({ params }) => ({ status: 200, body: preferencesBody(await preferences.get(params.userId)) }),
    ),
    defineRoute(
      {
        method: 'PATCH',
        path,
        operationId: 'changeNotificationPreferences',
        tag,
        summary: 'Change what a user is told of',
        description:
          'The first change makes the user a subscriber, told what happens at the chosen sites of the types that are enabled, ' +
          'unless it says subscribed: false. What names the user, such as a rule that lists them, is told whatever its site, ' +
          'and when it is CRITICAL whatever its type.',
        permission,
        params: UserParams,
        body: PreferenceChangesSchema,
        responses: { 200: { description: 'The preferences after the change', schema: PreferencesSchema } },
        problems: ['UNAVAILABLE'],
      },
      async ({ params, body, caller }) => {
        requireSeen(caller, body.sites ?? [])
        return { status: 200, body: preferencesBody(await preferences.change(params.userId, body)) }
      },
    ),
  ]
}

/** One that the caller does not see is like one that does not exist. @throws Problem INVALID_INPUT */
function requireSeen(caller: Caller, siteIds: readonly number[]): void {
  const sees = caller.sites('viewer')
  const wrong = siteIds.flatMap((value, i) => {
    return includesSite(sees, value) ? [] : [{ in: 'body' as const, pointer: `/sites/${i}`, value, remedy: SEEN }]
  })
  if (wrong.length > 0) throw invalidInput(wrong)
}
