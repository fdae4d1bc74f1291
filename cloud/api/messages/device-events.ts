/** The values of `device-telemetry` and `device-status` as published: the contract with whoever reads the topics. */

import { Type } from '@sinclair/typebox'

const EVENT_TIME = Type.String({ format: 'date-time', description: 'When it happened, RFC 3339, UTC' })

// Open objects: a message may carry more members than these, never fewer.

export const DeviceTelemetrySchema = Type.Object(
  {
    deviceId: Type.Integer({ minimum: 1 }),
    serialNumber: Type.String(),
    siteId: Type.Integer({ minimum: 1 }),
    deviceType: Type.String({ description: 'Such as SOLAR_INVERTER or METER' }),
    telemetryData: Type.Record(Type.String(), Type.Unknown(), {
      description: 'Readings by name, as the device sent them, such as {"powerKw": 45.2}',
    }),
    timestamp: EVENT_TIME,
    eventType: Type.Literal('DEVICE_TELEMETRY'),
  },
  { $id: 'DeviceTelemetry', description: 'One reading of a device' },
)

export const DeviceStatusChangeSchema = Type.Object(
  {
    deviceId: Type.Integer({ minimum: 1 }),
    serialNumber: Type.String(),
    siteId: Type.Integer({ minimum: 1 }),
    previousStatus: Type.Union([Type.String(), Type.Null()]),
    newStatus: Type.String({ description: 'ONLINE, OFFLINE, MAINTENANCE or ERROR' }),
    timestamp: EVENT_TIME,
    eventType: Type.Literal('DEVICE_STATUS_CHANGE'),
    reason: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  },
  { $id: 'DeviceStatusChange', description: 'A device has another status than before' },
)

export const DeadLetterSchema = Type.Object(
  {
    raw: Type.Optional(
      Type.String({ contentEncoding: 'base64', description: 'The original value when it was no JSON object' }),
    ),
    error: Type.Object({
      code: Type.String(),
      message: Type.String(),
      timestamp: EVENT_TIME,
      retryCount: Type.Integer({ minimum: 0 }),
    }),
  },
  { $id: 'DeadLetter', description: 'A value nobody could use: its own members, and why' },
)

export const RECORD_HEADERS_SCHEMA = Type.Object(
  {
    gateway: Type.Optional(
      Type.String({ description: 'The gateway that sent it; $cloud for what the cloud found out by itself' }),
    ),
    epoch: Type.Optional(Type.String({ description: 'The spool that numbered it' })),
    seq: Type.Optional(Type.String({ pattern: '^[0-9]{1,16}$', description: 'Its number; a duplicate has the same' })),
    receivedAt: Type.Optional(
      Type.String({ format: 'date-time', description: "When the gateway got it, the gateway's clock" }),
    ),
    backfill: Type.Optional(Type.Literal('true', { description: 'Set when it waited through an outage' })),
    replayOf: Type.Optional(Type.String({ description: 'The dead letter that it was replayed from' })),
    mqttTopic: Type.Optional(Type.String({ description: 'Of a dead letter of ingest: what the device published to' })),
  },
  { $id: 'RecordHeaders', description: 'Headers of a device record' },
)
