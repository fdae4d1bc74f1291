/** An API key as the API shows and takes it. */

import { Type } from '@sinclair/typebox'
import type { ApiKey } from '../../identity/identity.ts'
import { closed, InstantSchema, NameSchema, nullable, TimeSchema, time, timeOrNull } from './common.ts'
import { GrantSchema } from './grant.ts'

/** Scopes, and grants, of one key. */
const SCOPES_MAX = 100
const GRANTS_MAX = 100

export const ApiKeyIdSchema = Type.String({ pattern: '^[0-9a-f]{16}$', description: '16 hexadecimal digits' })

const ScopeSchema = Type.String({
  maxLength: 100,
  description: 'A tag of this document or * for all of them, with :read or :write behind it, such as telemetry:read',
})

const shown = {
  id: ApiKeyIdSchema,
  name: NameSchema,
  scopes: Type.Array(ScopeSchema),
  grants: Type.Array(GrantSchema),
  createdBy: Type.String({ description: 'Who made it, and answers for it: it can do no more than that user may' }),
  createdAt: TimeSchema,
  expiresAt: nullable(TimeSchema),
  lastUsedAt: nullable({ ...TimeSchema, description: 'To the minute' }),
  revokedAt: nullable(TimeSchema),
}

export const ApiKeySchema = Type.Object(shown, { ...closed, $id: 'ApiKey', description: 'How a program logs in' })

export const CreatedApiKeySchema = Type.Object(
  { ...shown, key: Type.String({ description: 'What the program sends as a bearer token; shown this once' }) },
  { ...closed, $id: 'CreatedApiKey' },
)

export const NewApiKeySchema = Type.Object(
  {
    name: NameSchema,
    scopes: Type.Array(ScopeSchema, { minItems: 1, maxItems: SCOPES_MAX, description: 'What it may ask at all' }),
    grants: Type.Array(GrantSchema, {
      minItems: 1,
      maxItems: GRANTS_MAX,
      description: 'What it may do where; no more than its maker may',
    }),
    expiresAt: Type.Optional({ ...InstantSchema, description: `Absent for no end. ${InstantSchema.description}` }),
  },
  { ...closed, $id: 'NewApiKey' },
)

export function apiKeyBody(key: ApiKey) {
  return {
    id: key.id,
    name: key.name,
    scopes: key.scopes,
    grants: key.grants,
    createdBy: key.createdBy,
    createdAt: time(key.createdAtMs),
    expiresAt: timeOrNull(key.expiresAtMs),
    lastUsedAt: timeOrNull(key.lastUsedAtMs),
    revokedAt: timeOrNull(key.revokedAtMs),
  }
}
