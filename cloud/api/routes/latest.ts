/** Latest values over REST, of one device or of a whole site. */

import { Type } from '@sinclair/typebox'
import type { Registry } from '../../registry/registry.ts'
import { notFound } from '../http/problem.ts'
import { defineRoute, type Route } from '../http/route.ts'
import { atDevice, atSite } from '../http/site-rules.ts'
import { closed, DeviceIdSchema, SiteIdSchema, time, timeOrNull } from '../schemas/common.ts'
import { LatestSchema } from '../schemas/device.ts'

/** Latest values of one device. */
export interface DeviceLatest {
  readonly deviceId: number
  readonly siteId: number
  readonly serialNumber: string
  /** Latest event time of any value, Unix milliseconds. */
  readonly eventAtMs: number
  /** When the gateway received that reading, Unix milliseconds. */
  readonly receivedAtMs: number
  /** By the name of the reading; `atMs` is its event time, Unix milliseconds. */
  readonly values: Readonly<Record<string, { readonly value: unknown; readonly atMs: number }>>
}

export interface LatestValues {
  /** Null when nothing has arrived from the device. */
  latest(deviceId: number): Promise<DeviceLatest | null>
  /** Of those devices of the site that anything has arrived from, by device id. */
  latestOfSite(siteId: number): Promise<readonly DeviceLatest[]>
}

const SiteLatestSchema = Type.Object({ items: Type.Array(LatestSchema) }, closed)

export function latestRoutes(options: {
  readonly registry: Pick<Registry, 'sites' | 'devices'>
  readonly latest: LatestValues
}): Route[] {
  const { registry, latest } = options
  const permission = { role: 'viewer', scope: 'site' } as const
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/devices/:id/latest',
        operationId: 'getLatestOfDevice',
        tag: 'devices',
        summary: 'The latest value of every reading of a device',
        permission,
        sites: atDevice(registry),
        params: Type.Object({ id: DeviceIdSchema }),
        responses: { 200: { description: 'Its latest values; none before its first reading', schema: LatestSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => {
        const found = await latest.latest(id)
        if (found !== null) return { status: 200, body: latestBody(found) }
        const device = await registry.devices.get(id)
        if (device === null) throw notFound('device', id)
        const { siteId, serialNumber } = device
        return {
          status: 200,
          body: { deviceId: id, siteId, serialNumber, eventAt: null, receivedAt: null, values: {} },
        }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/sites/:id/latest',
        operationId: 'getLatestOfSite',
        tag: 'sites',
        summary: 'The latest values of every device of a site that has sent any',
        permission,
        sites: atSite(),
        params: Type.Object({ id: SiteIdSchema }),
        responses: { 200: { description: 'By device', schema: SiteLatestSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => {
        const items = await latest.latestOfSite(id)
        if (items.length === 0 && (await registry.sites.get(id)) === null) throw notFound('site', id)
        return { status: 200, body: { items: items.map(latestBody) } }
      },
    ),
  ]
}

function latestBody(latest: DeviceLatest) {
  const { deviceId, siteId, serialNumber, eventAtMs, receivedAtMs, values } = latest
  return {
    deviceId,
    siteId,
    serialNumber,
    eventAt: timeOrNull(eventAtMs),
    receivedAt: timeOrNull(receivedAtMs),
    values: Object.fromEntries(
      Object.entries(values).map(([name, { value, atMs }]) => [name, { value, at: time(atMs) }]),
    ),
  }
}
