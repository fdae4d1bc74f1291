/** People that one may talk to, and whether they are there, as the API shows them. */

import { type Static, Type } from '@sinclair/typebox'
import { PRESENCE_STATES, type PresenceView } from '../../chat/chat.ts'
import { PEOPLE_SEARCH_CHARS_MAX, type Person } from '../../identity/identity.ts'
import { closed, nullable, PAGE_QUERY, TimeSchema, timeOrNull } from './common.ts'
import { UserIdSchema } from './notification.ts'

/** A user, or `api-key:` and the id of the key for a program. */
export const PersonIdSchema = UserIdSchema

const WHO = 'whoever is logged in, and no other; to be said where nobody logs in'
/** In bodies. */
export const DoerSchema = { ...PersonIdSchema, description: `${PersonIdSchema.description}. Who does this: ${WHO}` }
/** In queries of requests without a body. */
export const ASKER_QUERY = {
  userId: Type.Optional({ ...PersonIdSchema, description: `${PersonIdSchema.description}. Who asks: ${WHO}` }),
}

const PresenceSchema = Type.Object(
  {
    state: Type.Union(
      PRESENCE_STATES.map((state) => Type.Literal(state)),
      { description: 'away: connected, but idle, or said to be away' },
    ),
    lastSeenAt: nullable({
      ...TimeSchema,
      description: 'Of who is there, when that was last noted; null of who never was',
    }),
  },
  { ...closed, $id: 'Presence', description: 'Whether somebody is there' },
)

export const PersonSchema = Type.Object(
  { userId: PersonIdSchema, name: nullable(Type.String()), presence: PresenceSchema },
  { ...closed, $id: 'Person', description: 'Somebody whom the caller may talk to' },
)

export const PEOPLE_QUERY = {
  ...PAGE_QUERY,
  search: Type.Optional(
    Type.String({
      maxLength: PEOPLE_SEARCH_CHARS_MAX,
      description: 'Part of an id or a name, in capitals or not',
    }),
  ),
  ...ASKER_QUERY,
}

export function personBody({ id, name }: Person, presence: PresenceView | undefined): Static<typeof PersonSchema> {
  const { state = 'offline', lastSeenAtMs = null } = presence ?? {}
  return { userId: id, name, presence: { state, lastSeenAt: timeOrNull(lastSeenAtMs) } }
}
