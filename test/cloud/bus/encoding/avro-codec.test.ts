import avsc from 'avsc'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AvroDecoder, AvroEncoder } from '../../../../cloud/bus/encoding/avro-codec.ts'
import { TOPIC_SCHEMAS } from '../../../../proto/generated/avro/topic-schemas.ts'

const ID = 0x01020304

function schemaOf(topic: string): string {
  return TOPIC_SCHEMAS[topic] as string
}

function roundTrip(schema: string, value: unknown): unknown {
  const encoded = new AvroEncoder(schema).encode(ID, JSON.stringify(value))
  return JSON.parse(new AvroDecoder(schema, null).decode(encoded))
}

function record(...fields: object[]): string {
  return JSON.stringify({ type: 'record', name: 'R', namespace: 'test', fields })
}

const reading = {
  deviceId: 7,
  serialNumber: 'INV-7',
  siteId: 1,
  deviceType: 'SOLAR_INVERTER',
  telemetryData: {
    powerKw: 45.2,
    count: 12,
    on: true,
    note: 'größer',
    gone: null,
    phases: [1, 2],
    more: { a: [null] },
  },
  timestamp: '2026-01-01T00:00:00Z',
  eventType: 'DEVICE_TELEMETRY',
}
const task = {
  command_type: 'SET_TOU',
  command_params: { slots: [{ from: '00:00' }] },
  device_ids: ['MTR-1', 'MTR-2'],
  requested_by: 'usr-1',
  options: { timeout_ms: 5_000, retries: { max: 2, on: ['FAILED'] } },
}

describe('a value through Avro', () => {
  it('begins with the byte 0 and the id of its schema', () => {
    const encoded = new AvroEncoder(schemaOf('device-telemetry')).encode(ID, JSON.stringify(reading))
    expect(encoded.subarray(0, 5).toString('hex')).toBe('0001020304')
    expect(avsc.Type.forSchema(JSON.parse(schemaOf('device-telemetry'))).fromBuffer(encoded.subarray(5))).toMatchObject(
      {
        serialNumber: 'INV-7',
        telemetryData: { powerKw: 45.2, phases: { json: '[1,2]' } },
      },
    )
  })

  it.each([
    ['device-telemetry', reading],
    ['device-telemetry', { ...reading, telemetryData: {} }],
    ['task.requested', task],
    ['task.requested', { ...task, command_params: null, options: {}, round: 2 }],
    ['task.requested', { ...task, command_params: 'plain text' }],
  ])('comes back the same: %s %#', (topic, value) => {
    expect(roundTrip(schemaOf(topic), value)).toEqual(value)
  })

  it('comes back the same, whatever JSON a device sent', () => {
    const data = fc.dictionary(
      fc.string({ unit: 'grapheme' }).filter((name) => name !== '__proto__'),
      fc.jsonValue(),
    )
    fc.assert(
      fc.property(data, (telemetryData) => {
        const text = JSON.stringify({ ...reading, telemetryData })
        const encoder = new AvroEncoder(schemaOf('device-telemetry'))
        const decoded = new AvroDecoder(schemaOf('device-telemetry'), null).decode(encoder.encode(ID, text))
        expect(JSON.parse(decoded)).toEqual(JSON.parse(text))
      }),
      { numRuns: 100 },
    )
  })

  it('changes nothing but itself by a name that means something to JavaScript', () => {
    const text = '{"__proto__":{"polluted":1},"constructor":2,"toString":"x"}'
    const sent = JSON.stringify({ ...reading, telemetryData: null }).replace(':null', `:${text}`)
    const encoded = new AvroEncoder(schemaOf('device-telemetry')).encode(ID, sent)
    const { telemetryData } = JSON.parse(new AvroDecoder(schemaOf('device-telemetry'), null).decode(encoded))
    expect(Object.entries(telemetryData)).toEqual([
      ['constructor', 2],
      ['toString', 'x'],
    ])
    expect(({} as Record<string, unknown>).polluted).toBeUndefined()
  })

  it('may be longer than what was set aside for it', () => {
    const long = { ...reading, telemetryData: { note: 'x'.repeat(100_000) } }
    expect(roundTrip(schemaOf('device-telemetry'), long)).toEqual(long)
  })
})

describe('a value that does not fit', () => {
  const encode = (value: unknown) => () =>
    new AvroEncoder(schemaOf('device-telemetry')).encode(ID, typeof value === 'string' ? value : JSON.stringify(value))

  it.each([
    [{ ...reading, deviceId: 'seven' }, /^\/deviceId is no long$/],
    [{ ...reading, deviceId: 2 ** 60 }, /^\/deviceId is no long$/],
    [{ ...reading, telemetryData: [] }, /^\/telemetryData is no map$/],
    [{ ...reading, serialNumber: undefined }, /^\/serialNumber is no string$/],
    [{ ...reading, extra: 1 }, /DeviceTelemetry has no member "extra"/],
    [[], /is no long$/],
    [5, /record/],
    ['no JSON, a secret', /^it is no JSON$/],
    ['', /^it is no JSON$/],
  ])('says where, and quotes no value: %#', (value, message) => {
    expect(encode(value)).toThrow(message)
  })
})

describe('what others wrote', () => {
  const decode = (schema: unknown, value: unknown, ours: string | null = null) => {
    const type = avsc.Type.forSchema(schema as avsc.Schema)
    const framed = Buffer.concat([Buffer.from([0, 0, 0, 0, 9]), type.toBuffer(value)])
    const shape = ours === null ? null : new AvroEncoder(ours).shape
    return JSON.parse(new AvroDecoder(JSON.stringify(schema), shape).decode(framed))
  }

  it('is read by our attributes where their schema has lost them', () => {
    const strip = (schema: unknown): unknown =>
      JSON.parse(
        JSON.stringify(schema, (key, value) => (key === 'json' && typeof value === 'string' ? undefined : value)),
      )
    const theirs = strip(JSON.parse(schemaOf('task.requested')))
    const value = { command_type: 'X', command_params: '{"a":1}', device_ids: ['a'], requested_by: 'b' }
    expect(decode(theirs, value, schemaOf('task.requested'))).toEqual({ ...value, command_params: { a: 1 } })
  })

  it('may have fields, unions and types that ours has not', () => {
    const schema = {
      type: 'record',
      name: 'other.Reading',
      fields: [
        { name: 'number', type: ['null', 'int', 'double'] },
        { name: 'kind', type: { type: 'enum', name: 'Kind', symbols: ['A', 'B'] } },
        { name: 'raw', type: 'bytes' },
        { name: 'list', type: { type: 'array', items: ['null', 'string', { type: 'map', values: 'long' }] } },
        { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } },
        { name: 'next', type: ['null', 'Reading'], default: null },
      ],
    }
    const value = {
      number: { double: 1.5 },
      kind: 'B',
      raw: Buffer.from([1, 2]),
      list: [null, 'a', { b: 1 }],
      at: 1_700_000_000_000,
      next: null,
    }
    const json = { ...value, number: 1.5, raw: 'AQI=' }
    expect(decode(schema, value)).toEqual(json)
    expect(decode(schema, { ...value, next: value })).toEqual({ ...json, next: json })
  })

  it('is refused when it is short, long, or claims more than it has', () => {
    const schema = record({ name: 'list', type: { type: 'array', items: 'null' } })
    const decoder = new AvroDecoder(schema, null)
    const framed = (...bytes: number[]) => Buffer.from([0, 0, 0, 0, 1, ...bytes])
    expect(decoder.decode(framed(4, 0))).toBe('{"list":[null,null]}')
    expect(() => decoder.decode(framed())).toThrow('ends too early')
    expect(() => decoder.decode(framed(0, 0))).toThrow('too many')
    // A thousand million of nothing.
    expect(() => decoder.decode(framed(0x80, 0xa8, 0xd6, 0xb9, 0x07, 0))).toThrow('claims more')
    const many = Array.from({ length: 500 }, () => [0x80, 0x08]).flat()
    expect(() => decoder.decode(framed(...many, 0))).toThrow('claims more')
  })

  it('is refused when a field that holds JSON text does not', () => {
    const schema = record({ name: 'payload', type: ['null', 'string'], default: null, json: 'text' })
    const theirs = JSON.parse(schema.replace(',"json":"text"', ''))
    expect(() => decode(theirs, { payload: 'no JSON' }, schema)).toThrow()
    expect(decode(theirs, { payload: null }, schema)).toEqual({ payload: null })
  })

  it('is not looked at when its schema is none', () => {
    expect(() => new AvroDecoder('{"type":"record"}', null)).toThrow()
    expect(() => new AvroDecoder('"no such type"', null)).toThrow()
  })
})
