/** Telemetry over REST: series for charts, the fields of a device, whether everything is there, and exports. */

import { Type } from '@sinclair/typebox'
import type { Clock } from '../../../shared/clock.ts'
import { nextTurn } from '../../../shared/waiting.ts'
import type { Registry } from '../../registry/registry.ts'
import {
  type ExportQuestion,
  NotFoundError,
  QueryRefusedError,
  type TelemetryQueries,
} from '../../telemetry/telemetry.ts'
import type { ActivityNote } from '../http/activity.ts'
import { notFound, Problem } from '../http/problem.ts'
import { defineRoute, type Route } from '../http/route.ts'
import { atDevice, atSite } from '../http/site-rules.ts'
import { invalidInput } from '../http/validation.ts'
import { closed, DeviceIdSchema, instant, SiteIdSchema, time } from '../schemas/common.ts'
import { COMPLETENESS_QUERY, CompletenessSchema, completenessBody } from '../schemas/completeness.ts'
import { EXPORT_QUERY, FieldsSchema, SERIES_QUERY, SeriesSchema, seriesBody, seriesHead } from '../schemas/telemetry.ts'
import type { LatestValues } from './latest.ts'

export interface TelemetryRoutesOptions {
  readonly telemetry: Pick<TelemetryQueries, 'series' | 'completeness' | 'export'>
  readonly registry: Pick<Registry, 'devices'>
  readonly latest: Pick<LatestValues, 'latest'>
  readonly clock: Clock
}

const permission = { role: 'viewer', scope: 'site' } as const
const tag = 'telemetry'

export function telemetryRoutes(options: TelemetryRoutesOptions): Route[] {
  return [seriesRoute(options), fieldsRoute(options), ...completenessRoutes(options), exportRoute(options)]
}

function seriesRoute({ telemetry, clock }: TelemetryRoutesOptions): Route {
  return defineRoute(
    {
      method: 'GET',
      path: '/api/v1/telemetry/series',
      operationId: 'getTelemetrySeries',
      tag,
      summary: 'Series of one or several devices and fields over a stretch of time, never more than maxPoints each',
      description:
        'Raw readings while they are few, otherwise roll-ups of 1 min, 15 min, 1 h or 1 d, picked by the stretch, maxPoints ' +
        'and how dense the readings are. Too many raw readings are thinned out by `method`; roll-ups are merged to longer ' +
        'steps, with the least of the minima and the greatest of the maxima, so a peak is always there. Steps begin at ' +
        'multiples of stepMs since 1970, UTC, so the same step has the same values whatever stretch is asked for; the first ' +
        'and the last may stand out of it. What is not a finite number is not in a series: the export has it. Late and ' +
        'backfilled readings are in the roll-ups about telemetry.rollUpDelayMs after they arrived; the newest minute is ' +
        'made of the readings themselves where they are few.',
      permission,
      sites: 'listed',
      query: Type.Object(SERIES_QUERY, closed),
      responses: { 200: { description: 'A series of each field of each device, in that order', schema: SeriesSchema } },
      problems: ['NOT_FOUND', 'UNAVAILABLE'],
    },
    async ({ query, caller }) => {
      const question = {
        ...chosenDevices(query),
        sites: caller.sites('viewer'),
        ...stretchOf(query, clock),
        fields: namesOf(query.field),
        pointsMax: query.maxPoints,
        resolution: query.resolution,
        method: query.method,
      }
      const answer = await telemetry.series(question).catch(explain)
      // Many points take long to write: one series at a time, so that everything else gets its turn.
      const series: string[] = []
      for (const each of answer.series) {
        series.push(JSON.stringify(seriesBody(each)))
        await nextTurn()
      }
      const head = JSON.stringify(seriesHead(question, answer))
      return new Response(`${head.slice(0, -1)},"series":[${series.join(',')}]}`, {
        headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
      })
    },
  )
}

function fieldsRoute({ registry, latest }: TelemetryRoutesOptions): Route {
  return defineRoute(
    {
      method: 'GET',
      path: '/api/v1/devices/:id/fields',
      operationId: 'listFieldsOfDevice',
      tag,
      summary: 'The numeric readings of a device that a series can be asked of, each with its latest value',
      permission,
      sites: atDevice(registry),
      params: Type.Object({ id: DeviceIdSchema }),
      responses: { 200: { description: 'Its fields; none before its first reading', schema: FieldsSchema } },
      problems: ['NOT_FOUND', 'UNAVAILABLE'],
    },
    async ({ params: { id } }) => {
      const found = await latest.latest(id)
      if (found === null && (await registry.devices.get(id)) === null) throw notFound('device', id)
      const items = Object.entries(found?.values ?? {})
        .filter(([, { value }]) => typeof value === 'number')
        .map(([field, { value, atMs }]) => ({ field, value, at: time(atMs) }))
        .sort((a, b) => (a.field < b.field ? -1 : 1))
      return { status: 200, body: { items } }
    },
  )
}

function completenessRoutes({ telemetry, registry, clock }: TelemetryRoutesOptions): Route[] {
  const description =
    'What arrived is counted by event time, from roll-ups, so it follows by about telemetry.rollUpDelayMs. What is on the bus ' +
    'and not yet in the database is not counted; it makes the verdict PENDING where analytics of this core fails or is more ' +
    'than 5 s behind, which of other cores is not known here, or where readings are set aside. Dead letters that may be of ' +
    'the stretch make it UNKNOWN until they are replayed or leave the list. Gateways count what they hold and what they give up for all their ' +
    'devices together and by the time at which they received it, so of one device both are upper bounds, and a device with ' +
    'a wrong clock may have readings elsewhere. Commands and statuses, which gateways keep apart and give up last, are not ' +
    'looked at, but the backlog includes them. '
  const answer = { 200: { description: 'What is there, what is not, and why', schema: CompletenessSchema } }
  const query = Type.Object(COMPLETENESS_QUERY, closed)
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/devices/:id/completeness',
        operationId: 'getCompletenessOfDevice',
        tag,
        summary: 'Whether all readings of a device are here, which are on their way, and which were lost',
        description: `${description}The gateways looked at are the present one of the device and those that its changes of status in the stretch, and the last one before it, came through.`,
        permission,
        sites: atDevice(registry, notThere),
        params: Type.Object({ id: DeviceIdSchema }),
        query,
        responses: answer,
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, query }) => {
        const stretch = stretchOf(query, clock)
        const found = await telemetry.completeness({ deviceId: id }, stretch, query.buckets).catch(explain)
        return { status: 200, body: completenessBody(stretch, found) }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/sites/:id/completeness',
        operationId: 'getCompletenessOfSite',
        tag,
        summary: 'The same of all devices of a site',
        description: `${description}The gateways looked at are those that devices of the site are behind at present.`,
        permission,
        sites: atSite(notThere),
        params: Type.Object({ id: SiteIdSchema }),
        query,
        responses: answer,
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, query }) => {
        const stretch = stretchOf(query, clock)
        const found = await telemetry.completeness({ siteId: id }, stretch, query.buckets).catch(explain)
        return { status: 200, body: completenessBody(stretch, found) }
      },
    ),
  ]
}

function exportRoute({ telemetry, clock }: TelemetryRoutesOptions): Route {
  return defineRoute(
    {
      method: 'GET',
      path: '/api/v1/telemetry/export',
      operationId: 'exportTelemetry',
      tag,
      summary: 'Readings or roll-ups as a file, CSV or NDJSON, of any length',
      description:
        'By device and, within a device, by time; roll-ups are those that begin within the stretch. The file is read from ' +
        'the database as fast as the client takes it, and not at one moment: what arrives meanwhile may be in it. When the ' +
        'database fails in the middle the connection is broken off without its proper end, which every HTTP client reports: ' +
        'a file without such an error is complete. CSV is that of RFC 4180, in UTF-8, with the columns time, siteId, ' +
        'deviceId, serialNumber, field and value, or of roll-ups count, min, max, mean and last. Text that a spreadsheet ' +
        'would run as a formula (beginning with = + - @ or a control character) has an apostrophe before it. An NDJSON ' +
        'line of raw readings is {"time","siteId","deviceId","serialNumber","values":{…}}, of roll-ups {…,"resolution",' +
        '"records","fields":{"powerKw":{"count","min","max","mean","last"}}}.',
      permission,
      sites: 'listed',
      query: Type.Object(EXPORT_QUERY, closed),
      responses: {
        200: { description: 'The file; application/x-ndjson for NDJSON', schema: Type.String(), mediaType: 'text/csv' },
      },
      problems: ['NOT_FOUND', 'UNAVAILABLE'],
      activity: 'export',
    },
    async ({ query, request, caller, activity }) => {
      const { format, resolution = 'raw' } = query
      const question = {
        ...chosenDevices(query),
        sites: caller.sites('viewer'),
        ...stretchOf(query, clock),
        fields: query.field === undefined ? undefined : namesOf(query.field),
        format,
        resolution,
      }
      noteExport(activity, question)
      const headers = {
        'content-type': format === 'csv' ? 'text/csv; charset=utf-8; header=present' : 'application/x-ndjson',
        'content-disposition': `attachment; filename="${fileName(question)}"`,
        'cache-control': 'no-store',
      }
      const file = await telemetry.export(question, request.signal).catch(explain)
      return new Response(file, { headers })
    },
  )
}

function noteExport(activity: ActivityNote, { siteId, deviceIds = [], resolution, format }: ExportQuestion): void {
  const [deviceId] = deviceIds
  if (siteId !== undefined) activity.about('site', siteId, siteId)
  else activity.about('device', deviceIds.length === 1 && deviceId !== undefined ? deviceId : null)
  activity.more({ resolution, format })
}

/** Such as telemetry-device-7-raw-20260101T000000Z-20260108T000000Z.csv. */
function fileName({ deviceIds, siteId, resolution, fromMs, toMs, format }: ExportQuestion): string {
  const several = deviceIds !== undefined && deviceIds.length > 1
  const whose =
    deviceIds === undefined ? `site-${siteId}` : several ? `${deviceIds.length}-devices` : `device-${deviceIds[0]}`
  const [from, to] = [fromMs, toMs].map((ms) => time(ms).replace(/\.\d+/, '').replaceAll(/[-:]/g, ''))
  return `telemetry-${whose}-${resolution}-${from}-${to}.${format}`
}

function stretchOf(query: { readonly from: string; readonly to?: string }, clock: Clock) {
  return { fromMs: instant(query.from) as number, toMs: instant(query.to) ?? clock.wallMs() }
}

/** Exactly one of the two. */
function chosenDevices({ deviceId, siteId }: { readonly deviceId?: string; readonly siteId?: number }) {
  if ((deviceId === undefined) === (siteId === undefined)) {
    const remedy = 'deviceId, such as 1,2, or siteId, such as 1: one of the two'
    throw invalidInput([
      { in: 'query', pointer: deviceId === undefined ? '/deviceId' : '/siteId', value: siteId, remedy },
    ])
  }
  return { deviceIds: deviceId?.split(',').map(Number), siteId }
}

/** Names separated by commas; a backslash makes the character after it part of a name. */
function namesOf(text: string): string[] {
  const names = text.match(/(?:[^\\,]|\\.)+/gs) ?? []
  return [...new Set(names.map((name) => name.replaceAll(/\\(.)/gs, '$1')))]
}

/** What telemetry refuses, as a problem. */
function explain(error: unknown): never {
  if (error instanceof QueryRefusedError) {
    throw invalidInput(
      error.refused.map(({ field, value, remedy }) => ({ in: 'query', pointer: `/${field}`, value, remedy })),
    )
  }
  throw error instanceof NotFoundError ? notThereProblem(error) : error
}

function notThere(what: 'site' | 'device', id: number): Problem {
  return notThereProblem(new NotFoundError(what, [id]))
}

function notThereProblem(error: NotFoundError): Problem {
  return new Problem('NOT_FOUND', error.message, { code: error.code, hint: error.hint, cause: error })
}
