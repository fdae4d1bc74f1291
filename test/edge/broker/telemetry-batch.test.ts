import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { looksLikeBatch, splitBatch } from '../../../edge/broker/telemetry-batch.ts'

const split = (text: string, max = 1000) =>
  splitBatch(Buffer.from(text), max)?.map((part) => Buffer.from(part).toString())

describe('a batch of readings', () => {
  test('is known by its first byte that is not white space', () => {
    const looks = (text: string) => looksLikeBatch(Buffer.from(text), 0, Buffer.byteLength(text))
    expect(looks('[{"a":1}]')).toBe(true)
    expect(looks(' \r\n\t[')).toBe(true)
    expect(looks('{"a":[1]}')).toBe(false)
    expect(looks('')).toBe(false)
    expect(looks('   ')).toBe(false)
  })

  test('comes apart at its commas, byte for byte', () => {
    expect(split(' [ {"a":1.0} ,\n{"b":[1,{"c":"],}\\"["}]} ] ')).toEqual(['{"a":1.0}', '{"b":[1,{"c":"],}\\"["}]}'])
    expect(split('[12345678901234567890, "x,y", null]')).toEqual(['12345678901234567890', '"x,y"', 'null'])
  })

  test('gives back every element of any array', () => {
    fc.assert(
      fc.property(
        fc.array(fc.jsonValue(), { minLength: 1, maxLength: 20 }),
        fc.constantFrom(undefined, 1, 2),
        (values, indent) => {
          const parts = split(JSON.stringify(values, null, indent))
          expect(parts?.map((part) => JSON.stringify(JSON.parse(part)))).toEqual(
            values.map((value) => JSON.stringify(value)),
          )
        },
      ),
    )
  })

  test.each([
    ['is not JSON', '[{"a":1},'],
    ['has nothing in it', '[ ]'],
    ['is too long', '[1,2,3]'],
  ])('is kept whole when it %s', (_what, text) => {
    expect(split(text, 2)).toBeUndefined()
  })
})
