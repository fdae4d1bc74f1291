import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { ConsumedRecord } from '../../../cloud/bus/bus.ts'
import { deadLetters } from '../../../cloud/bus/dead-letter.ts'
import { originalOf } from '../../../cloud/dead-letters/original.ts'

const reason = { source: 'a-service', code: 'BAD', message: 'a "quoted" \\ reason', retryCount: 3, atMs: 0 }

function lettersOf(value: Uint8Array): Buffer[] {
  const record: ConsumedRecord = {
    topic: 'device-telemetry',
    partition: 0,
    offset: 0n,
    key: null,
    value: Buffer.from(value),
    headers: {},
    timestampMs: 0,
  }
  return deadLetters(record, reason).map((letter) => Buffer.from(letter.value as string))
}

const restored = (letters: readonly Buffer[]) => {
  const original = originalOf(letters)
  if ('code' in original) throw new Error(original.message)
  return original.value
}

/** JSON as others write it: numbers that no program keeps, doubled members, escapes, blanks. */
const blank = fc.constantFrom('', ' ', '\n', '\t ')
const name = fc.oneof(
  fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)),
  fc.constantFrom('"a"', '"a"', '"raw"', '"\\u0061"', '"err\\"or"', '"__proto__"', '"é😀"', '"Error"'),
)
const { value: jsonText } = fc.letrec<{ value: string; object: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom(
      '1e400',
      '12345678901234567890',
      '-0',
      '0.10',
      '1E+2',
      '-1.50e-7',
      'true',
      'null',
      '"\\ud83d\\n/\\/"',
    ),
    fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)),
    fc.array(tie('value'), { maxLength: 3 }).map((items) => `[${items.join(' , ')}]`),
    tie('object'),
  ),
  object: fc
    .array(fc.tuple(name, blank, tie('value'), blank), { maxLength: 5 })
    .map(
      (members) => `{${members.map(([key, before, value, after]) => `${before}${key}:${value}${after}`).join(',')}}`,
    ),
}))
const objectText = fc
  .array(fc.tuple(name, blank, jsonText, blank), { maxLength: 6 })
  .map((members) => `{${members.map(([key, a, value, b]) => `${a}${key}${b}:${a}${value}`).join(`,`)}}`)

describe('the original of a dead letter', () => {
  it('is byte for byte the JSON object that it was, whatever its numbers, doubled members and escapes', () => {
    fc.assert(
      fc.property(objectText, (text) => {
        expect(restored(lettersOf(Buffer.from(text))).toString()).toBe(text)
      }),
      { numRuns: 500 },
    )
  })

  it('is byte for byte what it was when it is no JSON object', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          jsonText.map((text) => Buffer.from(text)),
        ),
        (bytes) => {
          fc.pre(!isObject(bytes))
          expect(restored(lettersOf(bytes)).equals(bytes)).toBe(true)
        },
      ),
    )
  })

  it.each([
    '{"a":1e400,"b":12345678901234567890,"c":-0,"d":1.0,"a":2}',
    '{}',
    '{"raw":"QUJD"}',
    '{"raw":"QUJD","raw":1}',
    '{"raw":"QUJD","b":1}',
    '{"error":"its own"}',
    '{"\\u0065rror":1}',
    '{"a":{"error":1}}',
    '{"a":"\\"error\\":1"}',
    '[{"a":1}]',
    'null',
    '',
    '\ufeff{}',
  ])('of %s is the same', (text) => {
    expect(restored(lettersOf(Buffer.from(text))).toString()).toBe(text)
  })

  it('is joined of its parts', () => {
    const value = Buffer.alloc(1_200_000, 0xfe)
    const letters = lettersOf(value)
    expect(letters).toHaveLength(3)
    expect(restored(letters).equals(value)).toBe(true)
  })

  it.each([
    ['{"error":{"code":"X"},"a":1.0}', '{"a":1.0}'],
    ['{ "a":1.0 , "error" : {"code":"X","b":[1,{"c":"}"}]} , "d":2 }', '{ "a":1.0  , "d":2 }'],
    ['{"error":1}', '{}'],
    ['{"a":1.50}', '{"a":1.50}'],
    ['{"raw":"not base64!","error":1}', '{"raw":"not base64!"}'],
    ['{"error":"its own","error":{"code":"X"}}', '{"error":"its own"}'],
  ])('of a foreign one, %s, is %s', (letter, original) => {
    expect(restored([Buffer.from(letter)]).toString()).toBe(original)
  })

  it.each(['not JSON', '[1]', '\xff'])('of %j cannot be known', (letter) => {
    expect(originalOf([Buffer.from(letter, 'latin1')])).toMatchObject({ code: 'UNRESTORABLE' })
  })
})

function isObject(bytes: Uint8Array): boolean {
  try {
    const value = JSON.parse(Buffer.from(bytes).toString())
    return typeof value === 'object' && value !== null && !Array.isArray(value)
  } catch {
    return false
  }
}
