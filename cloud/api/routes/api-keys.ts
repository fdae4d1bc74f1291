/** API keys over REST. */

import { Type } from '@sinclair/typebox'
import type { ApiKeys } from '../../identity/identity.ts'
import { notFound } from '../http/problem.ts'
import { defineRoute, type Route } from '../http/route.ts'
import { ApiKeyIdSchema, ApiKeySchema, apiKeyBody, CreatedApiKeySchema, NewApiKeySchema } from '../schemas/api-key.ts'
import { closed, instant, PAGE_QUERY, pageBody, pageSchema } from '../schemas/common.ts'

const tag = 'api-keys'
const KeyParams = Type.Object({ id: ApiKeyIdSchema })

export interface ApiKeyRoutesOptions {
  readonly apiKeys: Pick<ApiKeys, 'create' | 'list' | 'get' | 'revoke'>
}

export function apiKeyRoutes({ apiKeys }: ApiKeyRoutesOptions): Route[] {
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/api-keys',
        operationId: 'listApiKeys',
        tag,
        summary: 'API keys, the newest first: your own, and those whose every site you administer or audit',
        permission: { role: 'viewer', scope: 'site' },
        sites: 'listed',
        query: Type.Object(PAGE_QUERY, closed),
        responses: { 200: { description: 'A page of API keys', schema: pageSchema(ApiKeySchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query, caller }) => ({ status: 200, body: pageBody(await apiKeys.list(query, caller), apiKeyBody) }),
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/api-keys',
        operationId: 'createApiKey',
        tag,
        summary: 'Make a key for a program',
        description:
          'The answer is the only one that holds the key. It can do what its scopes name, where its grants say, and at no ' +
          'time more than the user who made it may; it is refused while that user is disabled. Sent twice, it makes two.',
        permission: { role: 'engineer', scope: 'site' },
        sites: 'listed',
        body: NewApiKeySchema,
        responses: { 201: { description: 'The key', schema: CreatedApiKeySchema } },
        problems: ['CONFLICT', 'UNAVAILABLE'],
      },
      async ({ body, caller, activity }) => {
        const { name, scopes, grants } = body
        activity.more({ scopes, give: grants })
        const expiresAtMs = instant(body.expiresAt) ?? null
        const { key, text } = await apiKeys.create({ name, scopes, grants, expiresAtMs }, caller)
        return {
          status: 201,
          body: { ...apiKeyBody(key), key: text },
          headers: { location: `/api/v1/api-keys/${key.id}` },
        }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/api-keys/:id',
        operationId: 'getApiKey',
        tag,
        summary: 'One API key',
        permission: { role: 'viewer', scope: 'site' },
        sites: 'listed',
        params: KeyParams,
        responses: { 200: { description: 'The key, without its secret', schema: ApiKeySchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, caller }) => {
        const key = await apiKeys.get(id, caller)
        if (key === null) throw notFound('API key', id)
        return { status: 200, body: apiKeyBody(key) }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/api-keys/:id/revoke',
        operationId: 'revokeApiKey',
        tag,
        summary: 'End a key for good',
        description:
          'For whoever made it, and for administrators of all its sites. Open WebSockets of the key are closed, and other ' +
          'cores refuse it, within identity.recheckMs. A key that is revoked already stays so.',
        // Who was an engineer when making it can end it still.
        permission: { role: 'viewer', scope: 'site' },
        sites: 'listed',
        params: KeyParams,
        responses: { 200: { description: 'The key as it is now', schema: ApiKeySchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, caller }) => {
        const key = await apiKeys.revoke(id, caller)
        if (key === null) throw notFound('API key', id)
        return { status: 200, body: apiKeyBody(key) }
      },
    ),
  ]
}
