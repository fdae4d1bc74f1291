/** What devices were and when, how available they were, and the outages of gateways, over REST. */

import { Type } from '@sinclair/typebox'
import type { Clock } from '../../../shared/clock.ts'
import { DAY_MS } from '../../../shared/durations.ts'
import type { Registry } from '../../registry/registry.ts'
import type { GatewayWatch, StatusHistory } from '../../status/status.ts'
import { notFound } from '../http/problem.ts'
import { defineRoute, type Route } from '../http/route.ts'
import { atDevice, atGateway, atSite } from '../http/site-rules.ts'
import { invalidInput } from '../http/validation.ts'
import {
  closed,
  DeviceIdSchema,
  GatewayIdSchema,
  InstantSchema,
  instant,
  nullable,
  PAGE_QUERY,
  pageBody,
  pageSchema,
  SiteIdSchema,
  TimeSchema,
  time,
} from '../schemas/common.ts'
import {
  AvailabilitySchema,
  availabilityBody,
  OutageSchema,
  outageBody,
  StatusChangeSchema,
  statusChangeBody,
} from '../schemas/status.ts'

const permission = { role: 'viewer', scope: 'site' } as const

const RANGE_QUERY = {
  from: Type.Optional({ ...InstantSchema, description: `At that time or later. ${InstantSchema.description}` }),
  to: Type.Optional({ ...InstantSchema, description: `Before that time. ${InstantSchema.description}` }),
}
const JUDGED_QUERY = {
  from: Type.Optional({ ...InstantSchema, description: `Default a day before \`to\`. ${InstantSchema.description}` }),
  to: Type.Optional({
    ...InstantSchema,
    description: `Now at the latest, and by default. ${InstantSchema.description}`,
  }),
}
const FORMULA =
  'Availability is ONLINE / (total − MAINTENANCE − UNKNOWN): maintenance is meant, and UNKNOWN, the time before the first ' +
  'status that is known, says nothing. OFFLINE and ERROR count against a device; the shares of all five are given beside it. ' +
  'A change is placed by its event time, so what a gateway stored and sent later corrects the past.'

export interface StatusRoutesOptions {
  readonly registry: Pick<Registry, 'sites' | 'gateways' | 'devices'>
  readonly history: Pick<StatusHistory, 'list' | 'availability'>
  readonly gatewayWatch: Pick<GatewayWatch, 'outages'>
  readonly clock: Clock
}

export function statusRoutes(options: StatusRoutesOptions): Route[] {
  return [historyRoute(options), ...availabilityRoutes(options), outagesRoute(options)]
}

function historyRoute({ registry, history }: StatusRoutesOptions): Route {
  return defineRoute(
    {
      method: 'GET',
      path: '/api/v1/devices/:id/status-history',
      operationId: 'listStatusHistory',
      tag: 'devices',
      summary: 'What a device was and when, the newest first',
      permission,
      sites: atDevice(registry),
      params: Type.Object({ id: DeviceIdSchema }),
      query: Type.Object({ ...PAGE_QUERY, ...RANGE_QUERY }, closed),
      responses: { 200: { description: 'A page of changes', schema: pageSchema(StatusChangeSchema) } },
      problems: ['NOT_FOUND', 'UNAVAILABLE'],
    },
    async ({ params: { id }, query: { from, to, ...page } }) => {
      if ((await registry.devices.get(id)) === null) throw notFound('device', id)
      const found = await history.list(id, { ...page, fromMs: instant(from), toMs: instant(to) })
      return { status: 200, body: pageBody(found, statusChangeBody) }
    },
  )
}

function availabilityRoutes({ registry, history, clock }: StatusRoutesOptions): Route[] {
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/devices/:id/availability',
        operationId: 'getAvailabilityOfDevice',
        tag: 'devices',
        summary: 'In which status a device was for how long',
        description: FORMULA,
        permission,
        sites: atDevice(registry),
        params: Type.Object({ id: DeviceIdSchema }),
        query: Type.Object(JUDGED_QUERY, closed),
        responses: { 200: { description: 'Its availability', schema: AvailabilitySchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, query }) => {
        const { fromMs, toMs } = judgedRange(query, clock)
        const device = await registry.devices.get(id)
        if (device === null) throw notFound('device', id)
        const [found] = await history.availability([device], fromMs, toMs)
        return { status: 200, body: found && availabilityBody(device, found) }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/sites/:id/availability',
        operationId: 'listAvailabilityOfSite',
        tag: 'sites',
        summary: 'In which status the devices of a site were for how long, by device',
        description: `${FORMULA} Give \`to\` where there are several pages, so that all of them are about the same time.`,
        permission,
        sites: atSite(),
        params: Type.Object({ id: SiteIdSchema }),
        query: Type.Object({ ...PAGE_QUERY, ...JUDGED_QUERY }, closed),
        responses: {
          200: {
            description: 'A page of devices',
            schema: Type.Object(
              {
                from: TimeSchema,
                to: TimeSchema,
                items: Type.Array(AvailabilitySchema),
                nextCursor: nullable(Type.String({ description: 'Asks for the next page; null on the last' })),
              },
              closed,
            ),
          },
        },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, query: { from, to, ...page } }) => {
        const { fromMs, toMs } = judgedRange({ from, to }, clock)
        if ((await registry.sites.get(id)) === null) throw notFound('site', id)
        const devices = await registry.devices.list({ ...page, siteId: id })
        const found = await history.availability(devices.items, fromMs, toMs)
        const items = devices.items.flatMap((device, i) => {
          const availability = found[i]
          return availability === undefined ? [] : [availabilityBody(device, availability)]
        })
        return { status: 200, body: { from: time(fromMs), to: time(toMs), items, nextCursor: devices.next } }
      },
    ),
  ]
}

function outagesRoute({ registry, gatewayWatch }: StatusRoutesOptions): Route {
  return defineRoute(
    {
      method: 'GET',
      path: '/api/v1/gateways/:id/outages',
      operationId: 'listOutages',
      tag: 'gateways',
      summary: 'When a gateway was offline for so long that people were told, the newest first',
      permission,
      sites: atGateway(registry),
      params: Type.Object({ id: GatewayIdSchema }),
      query: Type.Object(PAGE_QUERY, closed),
      responses: { 200: { description: 'A page of outages', schema: pageSchema(OutageSchema) } },
      problems: ['NOT_FOUND', 'UNAVAILABLE'],
    },
    async ({ params: { id }, query }) => {
      if ((await registry.gateways.get(id)) === null) throw notFound('gateway', id)
      return { status: 200, body: pageBody(await gatewayWatch.outages(id, query), outageBody) }
    },
  )
}

/** What is to come was in no status yet. */
function judgedRange(query: { readonly from?: string | undefined; readonly to?: string | undefined }, clock: Clock) {
  const nowMs = Math.floor(clock.wallMs())
  const toMs = Math.min(instant(query.to) ?? nowMs, nowMs)
  const fromMs = instant(query.from) ?? toMs - DAY_MS
  if (fromMs < toMs) return { fromMs, toMs }
  throw invalidInput([{ in: 'query', pointer: '/from', value: query.from, remedy: 'before `to`, and in the past' }])
}
