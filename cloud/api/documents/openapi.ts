/** The OpenAPI 3.1 document, from the declarations that the requests are checked against. */

import type { TObject } from '@sinclair/typebox'
import { PROBLEM_MEDIA_TYPE, type ProblemKind, ProblemSchema, statusOf, titleOf } from '../http/problem.ts'
import { isForAnybody, type RouteDeclaration } from '../http/route.ts'
import { type Json, SchemaCollection } from './json-schema.ts'
import { SECURITY_SCHEMES, securityOf } from './security.ts'

type JsonObject = { [member: string]: Json }

export function openApiDocument(routes: readonly RouteDeclaration[], version: string): JsonObject {
  const collection = new SchemaCollection()
  const paths: Record<string, JsonObject> = {}
  for (const route of routes) {
    const path = route.path.replaceAll(/:([A-Za-z]+)/g, '{$1}')
    const operations = paths[path] ?? {}
    operations[route.method.toLowerCase()] = operation(route, collection)
    paths[path] = operations
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Busbar',
      version,
      description:
        'Sites, gateways, devices and their latest readings. Times are RFC 3339 in UTC. Every error is a problem ' +
        'document (RFC 9457). `x-permission` is the role that a caller needs: at the sites that the answer is about, over ' +
        'every site, or for what is its own. What it cannot see does not exist for it. An API key needs the scope ' +
        '`<tag>:read` or `<tag>:write` besides. The live channels of the WebSocket are described in /asyncapi.json.',
    },
    servers: [{ url: '/' }],
    tags: [...new Set(routes.map(({ tag }) => tag))].map((name) => ({ name })),
    paths,
    components: { schemas: collection.schemas, securitySchemes: SECURITY_SCHEMES },
  }
}

function operation(route: RouteDeclaration, collection: SchemaCollection): JsonObject {
  const parameters = [
    ...parametersOf(route.params, 'path', collection),
    ...parametersOf(route.query, 'query', collection),
    ...(route.idempotent === true ? [IDEMPOTENCY_KEY] : []),
  ]
  const responses: JsonObject = {}
  for (const [status, { description, schema, mediaType = 'application/json' }] of Object.entries(route.responses)) {
    responses[status] = {
      description,
      ...(schema === undefined ? {} : { content: { [mediaType]: { schema: collection.use(schema) } } }),
    }
  }
  Object.assign(responses, problemResponses(problemsOf(route), collection))
  return {
    operationId: route.operationId,
    tags: [route.tag],
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
    'x-permission': route.permission === 'none' ? 'none' : { ...route.permission },
    security: isForAnybody(route) ? [] : securityOf(SECURITY_SCHEMES),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: route.bodyOptional !== true,
            content: { 'application/json': { schema: collection.use(route.body) } },
          },
        }),
    responses,
  }
}

const IDEMPOTENCY_KEY: JsonObject = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description: 'The same key with the same body gives the first answer again; it is remembered for a day by default.',
  schema: { type: 'string', minLength: 1, maxLength: 200, pattern: '^[\\x21-\\x7e]+$' },
}

function parametersOf(
  schema: TObject | undefined,
  place: 'path' | 'query',
  collection: SchemaCollection,
): JsonObject[] {
  if (schema === undefined) return []
  return Object.entries(schema.properties).map(([name, property]) => {
    const { description, ...rest } = collection.use(property) as JsonObject
    return {
      name,
      in: place,
      required: place === 'path' || (schema.required ?? []).includes(name),
      ...(description === undefined ? {} : { description }),
      schema: rest,
    }
  })
}

/** The problems a route can answer with: those of its schemas and those it declares. */
export function problemsOf(route: RouteDeclaration): ProblemKind[] {
  const kinds = new Set<ProblemKind>(['HOST_REFUSED', 'ORIGIN_REFUSED'])
  if (route.params !== undefined || route.query !== undefined) kinds.add('INVALID_INPUT')
  if (route.permission !== 'none') {
    for (const kind of ['UNAUTHENTICATED', 'FORBIDDEN', 'TOO_MANY_REQUESTS', 'UNAVAILABLE'] as const) kinds.add(kind)
  }
  if (route.body !== undefined) {
    for (const kind of ['BODY_MALFORMED', 'BODY_TOO_LARGE', 'MEDIA_TYPE_UNSUPPORTED', 'INVALID_INPUT'] as const) {
      kinds.add(kind)
    }
  }
  if (route.idempotent === true) kinds.add('IDEMPOTENCY_IN_FLIGHT').add('IDEMPOTENCY_KEY_REUSED').add('INVALID_INPUT')
  for (const kind of route.problems ?? []) kinds.add(kind)
  kinds.add('INTERNAL')
  return [...kinds]
}

/** One response a status: several kinds of problem may share one. */
function problemResponses(kinds: readonly ProblemKind[], collection: SchemaCollection): JsonObject {
  const titles = new Map<number, string[]>()
  for (const kind of kinds) titles.set(statusOf(kind), [...(titles.get(statusOf(kind)) ?? []), titleOf(kind)])
  return Object.fromEntries(
    [...titles]
      .sort(([a], [b]) => a - b)
      .map(([status, words]) => [
        status,
        { description: words.join('; '), content: { [PROBLEM_MEDIA_TYPE]: { schema: collection.use(ProblemSchema) } } },
      ]),
  )
}
