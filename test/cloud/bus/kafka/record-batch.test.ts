import { Reader, readRecordsBatch } from '@platformatic/kafka'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { COMPRESSIONS, compress } from '../../../../cloud/bus/kafka/compression.ts'
import { frameBatch, RecordsBuilder } from '../../../../cloud/bus/kafka/record-batch.ts'
import { anyRecord } from '../../../support/any-bus-record.ts'

const position = { producerId: 42n, producerEpoch: 3, sequence: 77 }

test('any records are read by another implementation as they were, with every codec', () => {
  const records = fc.array(anyRecord, { minLength: 1, maxLength: 20 })
  fc.assert(
    fc.property(records, fc.constantFrom(...COMPRESSIONS), fc.nat(1_000_000), (sent, codec, delayMs) => {
      const builder = new RecordsBuilder(16)
      for (const record of sent) builder.add(record, 1_760_000_000_000 + (builder.recordCount === 0 ? 0 : delayMs))
      const { firstTimestampMs, maxTimestampMs, recordCount: count } = builder
      const sealed = { ...compress(builder.finish(), codec), count, firstTimestampMs, maxTimestampMs }
      const batch = readRecordsBatch(Reader.from(frameBatch(sealed, position)))
      expect(batch).toMatchObject({
        magic: 2,
        producerId: 42n,
        producerEpoch: 3,
        firstSequence: 77,
        lastOffsetDelta: sent.length - 1,
        firstTimestamp: 1_760_000_000_000n,
        maxTimestamp: 1_760_000_000_000n + BigInt(sent.length > 1 ? delayMs : 0),
      })
      batch.records.forEach((record, i) => {
        const { key, value, headers = {} } = sent[i] as (typeof sent)[number]
        expect(record.offsetDelta).toBe(i)
        expect(record.key === null ? null : record.key?.toString()).toBe(key)
        expect(record.value?.equals(Buffer.from(value as string))).toBe(true)
        expect(record.headers.map(([name, text]) => [String(name), String(text)])).toEqual(Object.entries(headers))
      })
    }),
    { numRuns: 200 },
  )
})

test('a clock that steps back within a batch does not make times negative', () => {
  const builder = new RecordsBuilder(16)
  builder.add({ key: null, value: 'a' }, 2_000)
  builder.add({ key: null, value: 'b' }, 1_000)
  expect([builder.firstTimestampMs, builder.maxTimestampMs]).toEqual([2_000, 2_000])
})
