import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type DeviceFields,
  decodeFields,
  encodeFields,
  FIELD_CHARS_MAX,
  FIELDS_MAX,
  mergeFields,
  mergeReading,
} from '../../../cloud/telemetry/latest-fields.ts'

const device = (): DeviceFields => ({
  deviceId: 1,
  siteId: 1,
  serialNumber: 'A',
  fields: new Map(),
  eventAtMs: 0,
  receivedAtMs: 0,
})
const noDrops = () => ({ tooLong: 0, tooMany: 0 })

/** What a device's readings come to when they are merged one by one. */
function merged(readings: readonly { fields: Record<string, unknown>; atMs: number }[]): DeviceFields {
  const into = device()
  for (const { fields, atMs } of readings) {
    mergeReading(into, fields, atMs, noDrops())
    into.eventAtMs = Math.max(into.eventAtMs, atMs)
  }
  return into
}

const readings = fc.array(
  fc.record({
    fields: fc.dictionary(fc.constantFrom('a', 'b', 'c', '__proto__'), fc.jsonValue(), { noNullPrototype: true }),
    atMs: fc.nat(5),
  }),
)

describe('latest fields', () => {
  it('come to the same however the readings are cut into batches and however often a batch comes', () => {
    fc.assert(
      fc.property(readings, fc.nat(20), fc.nat(20), (all, cut, again) => {
        const whole = merged(all)
        const stored = merged(all.slice(0, cut))
        // The bus delivers again from some earlier record on, never from a later one.
        mergeFields(stored, merged(all.slice(Math.min(cut, again))), noDrops())
        expect(encodeSorted(stored)).toEqual(encodeSorted(whole))
        expect(stored.eventAtMs).toBe(whole.eventAtMs)
        expect(mergeFields(stored, merged(all), noDrops())).toBe(false)
      }),
    )
  })

  it('survive being stored', () => {
    const fields = { ['__proto__']: 1, 'quo"te': 'nul\0 and \ud800', nested: { a: [1, null] }, no: false }
    const into = device()
    mergeReading(into, fields, 7, noDrops())
    const text = encodeFields(into.fields)
    expect(text).not.toContain('\0')
    expect(decodeFields(text)).toEqual(into.fields)
  })

  it('keep the newest of too many, and count the rest', () => {
    const into = device()
    const drops = noDrops()
    mergeReading(into, { old: 1 }, 1, drops)
    mergeReading(into, Object.fromEntries(Array.from({ length: FIELDS_MAX }, (_, i) => [`f${i}`, i])), 2, drops)
    expect(into.fields.size).toBe(FIELDS_MAX)
    expect(into.fields.has('old')).toBe(false)
    expect(drops).toEqual({ tooLong: 0, tooMany: 1 })
  })

  it('leave out values too long to be worth keeping', () => {
    const into = device()
    const drops = noDrops()
    const long = 'x'.repeat(FIELD_CHARS_MAX + 1)
    mergeReading(into, { text: long, list: [long], [long]: 1, power: 1 }, 1, drops)
    expect([...into.fields.keys()]).toEqual(['power'])
    expect(drops).toEqual({ tooLong: 3, tooMany: 0 })
  })
})

function encodeSorted({ fields }: DeviceFields): string {
  return encodeFields(new Map([...fields].sort(([a], [b]) => (a < b ? -1 : 1))))
}
