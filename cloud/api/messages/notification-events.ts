/** The value of `notifications`: the contract with whoever produces or reads it. */

import { Type } from '@sinclair/typebox'
import { NOTIFICATION_MEMBERS } from '../schemas/notification.ts'

const { id: _, severity, siteId, quiet, occurredAt, ...fixed } = NOTIFICATION_MEMBERS

// An open object: a message may carry more members than these, never fewer.

export const NotificationMessageSchema = Type.Object(
  {
    // Other producers have ids of another form.
    id: Type.String({ minLength: 1, description: 'A record that comes twice has the same' }),
    ...fixed,
    severity: Type.Optional(severity),
    siteId: Type.Optional(siteId),
    quiet: Type.Optional(quiet),
    occurredAt: Type.Optional(occurredAt),
  },
  { $id: 'NotificationMessage', description: 'A user is to be told something' },
)

export const NOTIFICATION_HEADERS_SCHEMA = Type.Object(
  { source: Type.Optional(Type.String({ description: 'Which service tells it' })) },
  { $id: 'NotificationHeaders', description: 'Headers of a notification' },
)
