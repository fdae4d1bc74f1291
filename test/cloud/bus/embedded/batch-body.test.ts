import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BatchBuilder, decodeBatch } from '../../../../cloud/bus/embedded/batch-body.ts'
import { anyRecord } from '../../../support/any-bus-record.ts'

const place = { topic: 'device-telemetry', partition: 2, baseOffset: 1_000, timestampMs: 1_760_000_000_000 }

test('any records come back as they were', () => {
  fc.assert(
    fc.property(fc.array(anyRecord, { maxLength: 20 }), fc.nat(20), (records, skip) => {
      const builder = new BatchBuilder(16)
      for (const record of records) builder.add(record)
      expect(builder.recordCount).toBe(records.length)
      const decoded = decodeBatch(place, builder.finish(), skip)
      expect(decoded).toEqual(
        records.slice(skip).map(({ key, value, headers = {} }, i) => ({
          topic: place.topic,
          partition: place.partition,
          offset: BigInt(place.baseOffset + Math.min(skip, records.length) + i),
          key,
          value: Buffer.from(value as string),
          headers,
          timestampMs: place.timestampMs,
        })),
      )
    }),
  )
})

test('a body that is cut short or of another version is refused, not misread', () => {
  const builder = new BatchBuilder(16)
  builder.add({ key: 'INV-001', value: '{"powerKw":45.2}', headers: { gateway: 'gw-1' } })
  const body = builder.finish()
  for (let length = 2; length < body.length; length++) {
    expect(() => decodeBatch(place, body.slice(0, length))).toThrow(/malformed/)
  }
  expect(() => decodeBatch(place, Uint8Array.of(9))).toThrow(/version is 9/)
})
