import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { eventTime, readTimestamp } from '../../../cloud/ingest/event-time.ts'
import { isRejection, memberRemover, parseJsonObject } from '../../../cloud/ingest/json-object.ts'
import { readStatus, statusValue } from '../../../cloud/ingest/status-value.ts'
import { type TelemetryValue, telemetryPrefix, telemetryValue } from '../../../cloud/ingest/telemetry-value.ts'

const DEVICE = {
  deviceId: 123,
  serialNumber: 'INV-001',
  siteId: 1,
  deviceType: 'SOLAR_INVERTER',
}
const RECEIVED = Date.UTC(2025, 9, 4, 10, 15, 0)
const TOLERANCE = 300_000

function readingOf(payload: string): TelemetryValue {
  const value = telemetryValue(telemetryPrefix(DEVICE), Buffer.from(payload), RECEIVED, TOLERANCE)
  if (isRejection(value)) throw new Error(value.message)
  return value
}

function rejectionOf(payload: string | Buffer): string {
  const value = telemetryValue(telemetryPrefix(DEVICE), Buffer.from(payload), RECEIVED, TOLERANCE)
  return isRejection(value) ? value.code : 'accepted'
}

describe('a reading', () => {
  test('becomes the value of the contract, field for field', () => {
    expect(readingOf('{"powerKw":45.2,"voltage":480.5}').value).toBe(
      '{"deviceId":123,"serialNumber":"INV-001","siteId":1,"deviceType":"SOLAR_INVERTER",' +
        '"telemetryData":{"powerKw":45.2,"voltage":480.5},' +
        '"timestamp":"2025-10-04T10:15:00.000Z","eventType":"DEVICE_TELEMETRY"}',
    )
  })

  test.each([
    ['first', '{"timestamp":"2025-10-04T09:00:00Z","a":1}'],
    ['last', '{ "a" : 1 , "timestamp" : "2025-10-04T09:00:00Z" }'],
    ['in the middle', '{"a":1,"timestamp":"2025-10-04T09:00:00Z","b":2}'],
    ['alone', '{"timestamp":"2025-10-04T09:00:00Z"}'],
    ['in another zone', '{"a":1,"timestamp":"2025-10-04T11:00:00.000+02:00"}'],
    ['as epoch milliseconds', `{"a":1,"timestamp":${Date.UTC(2025, 9, 4, 9)}}`],
    ['with an escaped name', '{"a":1,"time\\u0073tamp":"2025-10-04T09:00:00Z"}'],
  ])('gives its own timestamp %s, which leaves the readings', (_, payload) => {
    const value = JSON.parse(readingOf(payload).value)
    expect(value.timestamp).toBe('2025-10-04T09:00:00.000Z')
    expect(value.telemetryData).not.toHaveProperty('timestamp')
  })

  test.each(['"2025-10-04T10:30:00Z"', '"yesterday"', '"2025-13-01T00:00:00Z"', '-5', '1e+300', '{"t":1}', 'true'])(
    'with timestamp %s is kept with the time of receipt and the original beside it',
    (timestamp) => {
      const { value, refusedTimestamp } = readingOf(`{"a":1,"timestamp":${timestamp}}`)
      expect(JSON.parse(value).timestamp).toBe('2025-10-04T10:15:00.000Z')
      expect(refusedTimestamp).toBe(timestamp.replaceAll(/^"|"$/g, ''))
    },
  )

  test('keeps every digit that the device wrote', () => {
    const { value } = readingOf('{"energyWh":12345678901234567890.10,"timestamp":1000,"nested":{"timestamp":"kept"}}')
    expect(value).toContain('"energyWh":12345678901234567890.10')
    expect(value).toContain('"nested":{"timestamp":"kept"}')
  })

  test.each([
    ['NOT_JSON', '{"a":'],
    ['NOT_JSON', ''],
    ['NOT_JSON', 'NaN'],
    ['NOT_AN_OBJECT', '42'],
    ['NOT_AN_OBJECT', 'null'],
    ['BATCH_TOO_LARGE', '[{"a":1}]'],
  ])('that is none is refused as %s: %s', (code, payload) => {
    expect(rejectionOf(payload)).toBe(code)
  })

  test('that is not UTF-8 is refused, one that holds U+FFFD is not', () => {
    expect(rejectionOf(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]))).toBe('NOT_JSON')
    expect(rejectionOf('{"a":"\ufffd"}')).toBe('accepted')
  })
})

describe('taking a member out of JSON text', () => {
  const remove = memberRemover('timestamp')

  test('gives what parsing, deleting and comparing gives, for any object', () => {
    const key = fc.oneof(fc.constant('timestamp'), fc.constant(',"timestamp":"x"'), fc.string())
    const value = fc.oneof(
      fc.jsonValue(),
      fc.constant('"timestamp":1}'),
      fc.constant({ timestamp: 1, b: [{ timestamp: 2 }] }),
    )
    const spacing = fc.constantFrom(undefined, 1, '\t')
    fc.assert(
      fc.property(fc.array(fc.tuple(key, value), { maxLength: 5 }), spacing, (members, indent) => {
        const object = Object.fromEntries(members.filter(([name]) => name !== '__proto__'))
        const { timestamp: _, ...expected } = object
        expect(JSON.parse(remove(JSON.stringify(object, null, indent)))).toEqual(JSON.parse(JSON.stringify(expected)))
      }),
      { numRuns: 2_000 },
    )
  })

  test('takes out every one of a doubled member', () => {
    expect(remove('{"timestamp":1,"a":2,"timestamp":3}')).toBe('{"a":2}')
  })
})

describe('timestamps', () => {
  test.each(['2025-10-04', '2025-10-04T10:15:00', '1759572900000', '2025-10-04T25:00:00Z', ''])(
    '%s is none',
    (text) => {
      expect(readTimestamp(text)).toBeNull()
    },
  )

  test('a space, lower case and nine digits are read', () => {
    expect(readTimestamp('2025-10-04 10:15:00.123456789z')).toBe(Date.UTC(2025, 9, 4, 10, 15, 0, 123))
  })

  test('the tolerance is the limit', () => {
    expect(eventTime(RECEIVED + TOLERANCE, RECEIVED, TOLERANCE).refused).toBeNull()
    expect(eventTime(RECEIVED + TOLERANCE + 1, RECEIVED, TOLERANCE).refused).toBe(String(RECEIVED + TOLERANCE + 1))
  })
})

describe('a status', () => {
  test('becomes the value of the contract', () => {
    const report = readStatus(
      Buffer.from('{"status":"ONLINE","reason":"Device communication restored"}'),
      RECEIVED,
      TOLERANCE,
    )
    if (isRejection(report)) throw new Error(report.message)
    expect(JSON.parse(statusValue(DEVICE, 'OFFLINE', report))).toEqual({
      deviceId: 123,
      serialNumber: 'INV-001',
      siteId: 1,
      previousStatus: 'OFFLINE',
      newStatus: 'ONLINE',
      timestamp: '2025-10-04T10:15:00.000Z',
      eventType: 'DEVICE_STATUS_CHANGE',
      reason: 'Device communication restored',
    })
  })

  test.each([
    ['BAD_STATUS', '{"status":"online"}'],
    ['BAD_STATUS', '{}'],
    ['NOT_JSON', 'ONLINE'],
  ])('is refused as %s: %s', (code, payload) => {
    expect(readStatus(Buffer.from(payload), RECEIVED, TOLERANCE)).toMatchObject({ code })
  })
})

test('parsing gives the text as it was', () => {
  expect(parseJsonObject(Buffer.from(' {"a": 1.0} '))).toMatchObject({
    text: ' {"a": 1.0} ',
  })
})
