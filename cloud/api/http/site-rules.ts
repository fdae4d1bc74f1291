/** Where the permission of a route is asked for, by what the path names. */

import type { Caller } from '../../identity/identity.ts'
import type { Tasks } from '../../orchestration/orchestration.ts'
import { NotAllowedAtError, NotRegisteredError, type RegisteredKind } from '../../registry/errors.ts'
import type { Registry } from '../../registry/registry.ts'
import { includesSite, includesSites, NO_SITE, type SiteAccess } from '../../registry/site-scope.ts'
import { roleMissingAt } from '../permission.ts'
import { notFound, type Problem, problemOf } from './problem.ts'
import type { Call, SiteRule } from './route.ts'

type Naming<Id> = Pick<Call<{ readonly id: Id }, unknown, unknown>, 'params' | 'caller'>

/** In the words of the registry, for routes whose handler leaves it to the registry to say so. */
export function notRegistered(kind: RegisteredKind, id: string | number): Problem {
  return problemOf(new NotRegisteredError(kind, `${kind} ${id}`))
}

export function atSite(missing: (kind: 'site', id: number) => Problem = notFound): SiteRule<Naming<number>> {
  return {
    of: ({ params }) => [params.id],
    missing: ({ params }) => missing('site', params.id),
  }
}

export function atDevice(
  registry: { readonly devices: Pick<Registry['devices'], 'get'> },
  missing: (kind: 'device', id: number) => Problem = notFound,
): SiteRule<Naming<number>> {
  return {
    async of({ params }) {
      const device = await registry.devices.get(params.id)
      return device && [device.siteId]
    },
    missing: ({ params }) => missing('device', params.id),
  }
}

/**
 * Whoever sees one of its sites sees the gateway; changing it needs the role at all of them, since it speaks for all of them.
 * One that is at no site yet is for those who have all.
 */
export function atGateway(
  registry: { readonly gateways: Pick<Registry['gateways'], 'sitesOf'> },
  what: 'seen' | 'changed' = 'seen',
): SiteRule<Naming<string>> {
  return {
    async of({ params, caller }) {
      const siteIds = await registry.gateways.sitesOf(params.id)
      if (siteIds === null) return null
      const sees = caller.sites('viewer')
      const seen = sees === 'all' || siteIds.some((siteId) => includesSite(sees, siteId))
      const all = siteIds.length === 0 ? [NO_SITE] : siteIds
      return { needs: what === 'seen' ? [] : all, seen }
    },
    missing: ({ params }) => notFound('gateway', params.id),
  }
}

/**
 * Whoever sees all the sites of its devices sees a task, as does who asked for it; changing it needs the role at all of them. One
 * whose devices are not known is for who asked, and for those who have every site.
 */
export function atTask(tasks: Pick<Tasks, 'sight'>, what: 'seen' | 'changed'): SiteRule<Naming<string>> {
  return {
    async of({ params, caller }) {
      const task = await tasks.sight(params.id)
      if (task === null) return null
      const isOwn = task.requestedBy === caller.id
      const none = isOwn ? [] : [NO_SITE]
      const siteIds = task.siteIds.length === 0 ? none : task.siteIds
      const seen = isOwn || includesSites(caller.sites('viewer'), siteIds)
      return { needs: what === 'seen' ? [] : siteIds, seen }
    },
    missing: ({ params }) => notFound('task', params.id),
  }
}

/** Of whoever commands devices, for services that find out by themselves where those are. */
export function operates(caller: Caller): SiteAccess {
  return { sees: caller.sites('viewer'), acts: caller.sites('operator') }
}

/** What such a service refuses, in the words of every other refusal. */
export function notAllowed(error: unknown): unknown {
  return error instanceof NotAllowedAtError ? roleMissingAt('operator', error.siteIds) : error
}
