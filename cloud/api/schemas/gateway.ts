/** A gateway as the API shows and takes it. */

import { Type } from '@sinclair/typebox'
import type { Gateway, GatewayGap } from '../../registry/gateway-store.ts'
import { closed, GatewayIdSchema, NameSchema, nullable, TimeSchema, time, timeOrNull } from './common.ts'

const Count = Type.Integer({ minimum: 0 })

export const GatewaySchema = Type.Object(
  {
    id: GatewayIdSchema,
    name: nullable(NameSchema),
    connected: Type.Boolean({ description: 'False too when a connected gateway has been silent for a while' }),
    softwareVersion: nullable(Type.String()),
    bootId: nullable(Type.String()),
    epoch: nullable(Type.String({ description: 'Names the spool; a new one after a reinstallation' })),
    connectedAt: nullable(TimeSchema),
    lastSeenAt: nullable(TimeSchema),
    backlog: nullable(
      Type.Object(
        {
          records: Count,
          bytes: Count,
          oldestAt: nullable(TimeSchema),
        },
        { ...closed, description: 'What the gateway holds that has not arrived, by its last report' },
      ),
    ),
    clockOffsetMs: nullable(Type.Integer({ description: "The gateway's clock less ours, milliseconds" })),
    createdAt: TimeSchema,
    updatedAt: TimeSchema,
  },
  { ...closed, $id: 'Gateway', description: 'A busbar-edge on a site' },
)

export const NewGatewaySchema = Type.Object(
  { id: GatewayIdSchema, name: Type.Optional(nullable(NameSchema)) },
  { ...closed, $id: 'NewGateway' },
)

const received = (description: string) => Type.String({ format: 'date-time', description })

export const GapSchema = Type.Object(
  {
    epoch: Type.String(),
    lane: Type.Union([Type.Literal('priority'), Type.Literal('telemetry')]),
    firstSequence: Type.Integer(),
    recordCount: Count,
    reason: Type.String(),
    at: TimeSchema,
    from: nullable(received('The first of them was received then; null when the gateway does not tell')),
    to: nullable(received('The last of them was received then or before; null when the gateway does not tell')),
  },
  { ...closed, $id: 'Gap', description: 'Records that the gateway gave up and that will never arrive' },
)

export function gatewayBody(gateway: Gateway) {
  const { backlog } = gateway
  return {
    id: gateway.id,
    name: gateway.name,
    connected: gateway.connected,
    softwareVersion: gateway.softwareVersion,
    bootId: gateway.bootId,
    epoch: gateway.epoch,
    connectedAt: timeOrNull(gateway.connectedAtMs),
    lastSeenAt: timeOrNull(gateway.lastSeenAtMs),
    backlog:
      backlog === null
        ? null
        : { records: backlog.records, bytes: backlog.bytes, oldestAt: timeOrNull(backlog.oldestMs) },
    clockOffsetMs: gateway.clockOffsetMs,
    createdAt: time(gateway.createdAtMs),
    updatedAt: time(gateway.updatedAtMs),
  }
}

export function gapBody(gap: GatewayGap) {
  const { epoch, lane, firstSequence, recordCount, reason, atMs, fromMs, toMs } = gap
  const times = { at: time(atMs), from: timeOrNull(fromMs), to: timeOrNull(toMs) }
  return { epoch, lane, firstSequence, recordCount, reason, ...times }
}
