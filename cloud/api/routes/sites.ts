/** Sites over REST. */

import { Type } from '@sinclair/typebox'
import type { Registry } from '../../registry/registry.ts'
import { notFound } from '../http/problem.ts'
import { defineRoute, type Route } from '../http/route.ts'
import { atSite, notRegistered } from '../http/site-rules.ts'
import { closed, PAGE_QUERY, pageBody, pageSchema, SiteIdSchema } from '../schemas/common.ts'
import { NewSiteSchema, SiteChangesSchema, SiteSchema, siteBody } from '../schemas/site.ts'

const SiteParams = Type.Object({ id: SiteIdSchema })

export function siteRoutes({ registry }: { readonly registry: Pick<Registry, 'sites'> }): Route[] {
  const tag = 'sites'
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/sites',
        operationId: 'listSites',
        tag,
        summary: 'Sites by id',
        permission: { role: 'viewer', scope: 'site' },
        sites: 'listed',
        query: Type.Object(PAGE_QUERY, closed),
        responses: { 200: { description: 'A page of sites', schema: pageSchema(SiteSchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query, caller }) => {
        const page = await registry.sites.list({ ...query, sites: caller.sites('viewer') })
        return { status: 200, body: pageBody(page, siteBody) }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/sites',
        operationId: 'createSite',
        tag,
        summary: 'Register a site',
        permission: { role: 'engineer', scope: 'global' },
        body: NewSiteSchema,
        idempotent: true,
        responses: { 201: { description: 'The site', schema: SiteSchema } },
        problems: ['CONFLICT', 'UNAVAILABLE'],
      },
      async ({ body }) => {
        const site = await registry.sites.create(body)
        return { status: 201, body: siteBody(site), headers: { location: `/api/v1/sites/${site.id}` } }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/sites/:id',
        operationId: 'getSite',
        tag,
        summary: 'One site',
        permission: { role: 'viewer', scope: 'site' },
        sites: atSite(),
        params: SiteParams,
        responses: { 200: { description: 'The site', schema: SiteSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => {
        const site = await registry.sites.get(id)
        if (site === null) throw notFound('site', id)
        return { status: 200, body: siteBody(site) }
      },
    ),
    defineRoute(
      {
        method: 'PATCH',
        path: '/api/v1/sites/:id',
        operationId: 'changeSite',
        tag,
        summary: 'Change a site',
        permission: { role: 'engineer', scope: 'site' },
        sites: atSite(notRegistered),
        params: SiteParams,
        body: SiteChangesSchema,
        responses: { 200: { description: 'The site as it is now', schema: SiteSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params, body }) => ({ status: 200, body: siteBody(await registry.sites.update(params.id, body)) }),
    ),
  ]
}
