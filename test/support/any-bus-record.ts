/** Arbitrary records for property tests: any Unicode, any bytes, lengths on both sides of every varint's limit. */

import fc from 'fast-check'
import type { BusRecord } from '../../cloud/bus/bus.ts'

const text = fc.oneof(
  fc.string({ unit: 'binary-ascii', maxLength: 80 }),
  // Lone surrogates have no UTF-8 and would come back as replacement characters.
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.integer({ min: 60, max: 70 }).map((length) => 'x'.repeat(length)),
  fc.integer({ min: 8_180, max: 8_200 }).map((length) => 'ü'.repeat(length / 2)),
)

export const anyRecord: fc.Arbitrary<BusRecord> = fc.record(
  {
    key: fc.option(text),
    value: fc.oneof(text, fc.uint8Array({ maxLength: 300 })),
    headers: fc.dictionary(
      text.filter((name) => name !== '__proto__' && !/^\d+$/.test(name)),
      text,
      { maxKeys: 4, noNullPrototype: true },
    ),
  },
  { requiredKeys: ['key', 'value'] },
)
