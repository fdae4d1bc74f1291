/** Devices and their latest values over REST. */

import { Type } from '@sinclair/typebox'
import { NotRegisteredError } from '../../registry/errors.ts'
import type { Registry } from '../../registry/registry.ts'
import { notFound, type Problem } from '../http/problem.ts'
import { defineRoute, type Route } from '../http/route.ts'
import { atDevice, notRegistered } from '../http/site-rules.ts'
import { invalidInput } from '../http/validation.ts'
import {
  closed,
  DeviceIdSchema,
  GatewayIdSchema,
  PAGE_QUERY,
  pageBody,
  pageSchema,
  SerialNumberSchema,
  SiteIdSchema,
} from '../schemas/common.ts'
import {
  DeviceChangesSchema,
  DeviceSchema,
  DeviceStatusSchema,
  DeviceTypeSchema,
  deviceBody,
  deviceSettings,
  NewDeviceSchema,
} from '../schemas/device.ts'

const DeviceParams = Type.Object({ id: DeviceIdSchema })

export function deviceRoutes({ registry }: { readonly registry: Pick<Registry, 'sites' | 'devices'> }): Route[] {
  const tag = 'devices'
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/devices',
        operationId: 'listDevices',
        tag,
        summary: 'Devices by id, all of them or those that match every criterion given',
        permission: { role: 'viewer', scope: 'site' },
        sites: 'listed',
        query: Type.Object(
          {
            ...PAGE_QUERY,
            siteId: Type.Optional(SiteIdSchema),
            gatewayId: Type.Optional(GatewayIdSchema),
            deviceType: Type.Optional(DeviceTypeSchema),
            status: Type.Optional(DeviceStatusSchema),
            serialNumber: Type.Optional(SerialNumberSchema),
          },
          closed,
        ),
        responses: { 200: { description: 'A page of devices', schema: pageSchema(DeviceSchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query, caller }) => {
        const page = await registry.devices.list({ ...query, sites: caller.sites('viewer') })
        return { status: 200, body: pageBody(page, deviceBody) }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/devices',
        operationId: 'createDevice',
        tag,
        summary: 'Register a device before its first reading',
        permission: { role: 'engineer', scope: 'site' },
        sites: {
          of: async ({ body }) => ((await registry.sites.get(body.siteId)) === null ? null : [body.siteId]),
          missing: ({ body }) => noSuchSite(body.siteId),
        },
        body: NewDeviceSchema,
        idempotent: true,
        responses: { 201: { description: 'The device', schema: DeviceSchema } },
        problems: ['CONFLICT', 'UNAVAILABLE'],
      },
      async ({ body, activity }) => {
        activity.more({ serialNumber: body.serialNumber })
        const device = await registry.devices.create(deviceSettings(body)).catch((error: unknown) => {
          throw error instanceof NotRegisteredError ? noSuchSite(body.siteId) : error
        })
        return { status: 201, body: deviceBody(device), headers: { location: `/api/v1/devices/${device.id}` } }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/devices/:id',
        operationId: 'getDevice',
        tag,
        summary: 'One device',
        permission: { role: 'viewer', scope: 'site' },
        sites: atDevice(registry),
        params: DeviceParams,
        responses: { 200: { description: 'The device', schema: DeviceSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => {
        const device = await registry.devices.get(id)
        if (device === null) throw notFound('device', id)
        return { status: 200, body: deviceBody(device) }
      },
    ),
    defineRoute(
      {
        method: 'PATCH',
        path: '/api/v1/devices/:id',
        operationId: 'changeDevice',
        tag,
        summary: 'Change the type or the name of a device, or after how long a silence it counts as OFFLINE',
        permission: { role: 'engineer', scope: 'site' },
        sites: atDevice(registry, notRegistered),
        params: DeviceParams,
        body: DeviceChangesSchema,
        responses: { 200: { description: 'The device as it is now', schema: DeviceSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params, body, activity }) => {
        const device = await registry.devices.update(params.id, deviceSettings(body))
        activity.more({ serialNumber: device.serialNumber })
        return { status: 200, body: deviceBody(device) }
      },
    ),
  ]
}

function noSuchSite(siteId: number): Problem {
  const remedy = 'the id of a registered site; POST /api/v1/sites registers one'
  return invalidInput([{ in: 'body', pointer: '/siteId', value: siteId, remedy }])
}
