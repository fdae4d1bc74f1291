/** Gateways over REST. */

import { Type } from '@sinclair/typebox'
import type { Registry } from '../../registry/registry.ts'
import { notFound } from '../http/problem.ts'
import { defineRoute, type Route } from '../http/route.ts'
import { atGateway } from '../http/site-rules.ts'
import { closed, GatewayIdSchema, PAGE_QUERY, pageBody, pageSchema, SiteIdSchema } from '../schemas/common.ts'
import { GapSchema, GatewaySchema, gapBody, gatewayBody, NewGatewaySchema } from '../schemas/gateway.ts'

const GatewayParams = Type.Object({ id: GatewayIdSchema })
const GapsSchema = Type.Object({ items: Type.Array(GapSchema) }, closed)

export function gatewayRoutes({ registry }: { readonly registry: Pick<Registry, 'gateways'> }): Route[] {
  const tag = 'gateways'
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/gateways',
        operationId: 'listGateways',
        tag,
        summary: 'Gateways by id',
        permission: { role: 'viewer', scope: 'site' },
        sites: 'listed',
        query: Type.Object(
          {
            ...PAGE_QUERY,
            connected: Type.Optional(Type.Boolean({ description: 'Only those that are, or are not' })),
            siteId: Type.Optional(SiteIdSchema),
          },
          closed,
        ),
        responses: { 200: { description: 'A page of gateways', schema: pageSchema(GatewaySchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query, caller }) => {
        const page = await registry.gateways.list({ ...query, sites: caller.sites('viewer') })
        return { status: 200, body: pageBody(page, gatewayBody) }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/gateways',
        operationId: 'createGateway',
        tag,
        summary: 'Register a gateway before it first connects',
        permission: { role: 'engineer', scope: 'global' },
        body: NewGatewaySchema,
        idempotent: true,
        responses: { 201: { description: 'The gateway', schema: GatewaySchema } },
        problems: ['CONFLICT', 'UNAVAILABLE'],
      },
      async ({ body }) => {
        const gateway = await registry.gateways.create(body)
        return { status: 201, body: gatewayBody(gateway), headers: { location: `/api/v1/gateways/${gateway.id}` } }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/gateways/:id',
        operationId: 'getGateway',
        tag,
        summary: 'One gateway: whether it is connected, and what it still holds',
        permission: { role: 'viewer', scope: 'site' },
        sites: atGateway(registry),
        params: GatewayParams,
        responses: { 200: { description: 'The gateway', schema: GatewaySchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => {
        const gateway = await registry.gateways.get(id)
        if (gateway === null) throw notFound('gateway', id)
        return { status: 200, body: gatewayBody(gateway) }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/gateways/:id/gaps',
        operationId: 'listGaps',
        tag,
        summary: 'What a gateway gave up, the newest first, 1,000 at most',
        permission: { role: 'viewer', scope: 'site' },
        sites: atGateway(registry),
        params: GatewayParams,
        responses: { 200: { description: 'Its gaps', schema: GapsSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => {
        const [gateway, gaps] = await Promise.all([registry.gateways.get(id), registry.gateways.gaps(id)])
        if (gateway === null) throw notFound('gateway', id)
        return { status: 200, body: { items: gaps.map(gapBody) } }
      },
    ),
  ]
}
