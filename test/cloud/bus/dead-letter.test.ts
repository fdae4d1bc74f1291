import { describe, expect, it } from 'vitest'
import type { ConsumedRecord } from '../../../cloud/bus/bus.ts'
import { deadLetters, deadLettersOf } from '../../../cloud/bus/dead-letter.ts'

const consumed = (value: string | Uint8Array): ConsumedRecord => ({
  topic: 'device-telemetry',
  partition: 2,
  offset: 41n,
  key: 'INV-1',
  value: Buffer.from(value as string),
  headers: { gateway: 'g', seq: '7' },
  timestampMs: 5,
})
const reason = { source: 'analytics-service', code: 'RECORD_UNUSABLE', message: 'why', retryCount: 3, atMs: 0 }
const error = { code: 'RECORD_UNUSABLE', message: 'why', timestamp: '1970-01-01T00:00:00.000Z', retryCount: 3 }

describe('dead letters', () => {
  it('keep the members of an object, its key, its headers, and where it stood', () => {
    const [letter, ...rest] = deadLetters(consumed('{"a":1}'), reason)
    expect(rest).toEqual([])
    expect(JSON.parse(letter?.value as string)).toEqual({ a: 1, error })
    expect(letter?.key).toBe('INV-1')
    expect(letter?.headers).toEqual({
      gateway: 'g',
      seq: '7',
      source: 'analytics-service',
      originalTopic: 'device-telemetry',
      originalPartition: '2',
      originalOffset: '41',
    })
  })

  it('say who gave a record up, and keep what it said of its own source', () => {
    const record = { ...consumed('{}'), headers: { source: 'user-service', timestamp: 't' } }
    expect(deadLetters(record, reason)[0]?.headers).toMatchObject({
      source: 'analytics-service',
      originalSource: 'user-service',
      timestamp: 't',
    })
  })

  it.each(['not JSON', '[1]', 'null', '', '{"error":"its own"}'])('keep %j byte for byte', (value) => {
    const [letter] = deadLetters(consumed(value), reason)
    const { raw, ...rest } = JSON.parse(letter?.value as string)
    expect(Buffer.from(raw, 'base64').toString()).toBe(value)
    expect(rest).toEqual({ error })
  })

  it('spread a value that is too large over several records', () => {
    const value = Buffer.alloc(1_200_000, 0xfe)
    const letters = deadLetters(consumed(value), reason)
    expect(letters.map((letter) => letter.headers?.part)).toEqual(['1/3', '2/3', '3/3'])
    const parts = letters.map((letter) => Buffer.from(JSON.parse(letter.value as string).raw, 'base64'))
    expect(Buffer.concat(parts).equals(value)).toBe(true)
  })

  it('are no larger than brokers take by default, whatever the record and the reason', () => {
    const value = JSON.stringify({ a: 'x'.repeat(1_040_000) })
    const letters = deadLetters(consumed(value), { ...reason, message: value })
    expect(letters.length).toBe(2)
    for (const letter of letters) expect((letter.value as string).length).toBeLessThan(900_000)
    const parts = letters.map((letter) => Buffer.from(JSON.parse(letter.value as string).raw, 'base64'))
    expect(Buffer.concat(parts).toString()).toBe(value)
  })

  it.each(['{"a":1.0}', '{}', ' { "a" : 12345678901234567890 } '])('keep the members of %s as written', (value) => {
    const undeliverable = { topic: 'device-telemetry', key: null, value: Buffer.from(value), headers: { seq: '7' } }
    const [letter] = deadLettersOf(undeliverable, reason)
    expect(letter?.value).toContain(value.trim().slice(1, -1).trim())
    expect(JSON.parse(letter?.value as string)).toEqual({ ...JSON.parse(value), error })
    expect(letter?.headers).toEqual({ seq: '7', source: 'analytics-service', originalTopic: 'device-telemetry' })
  })
})
