import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { BlockBuilder, checksum, decodeBody } from '../../shared/block.ts'

describe('block body', () => {
  it('gives back any records, in order', () => {
    const record = fc.record({
      topic: fc.oneof(
        fc.constantFrom('sites/1/devices/INV-001/telemetry', 'sites/1/devices/INV-002/status'),
        fc.string(),
      ),
      delayMs: fc.nat(2 ** 31 - 1),
      payload: fc.uint8Array({ maxLength: 300 }),
    })
    fc.assert(
      fc.property(fc.array(record), (records) => {
        const builder = new BlockBuilder(16)
        for (const { topic, delayMs, payload } of records) builder.add(topic.toWellFormed(), delayMs, payload)
        const decoded = decodeBody(builder.finish())
        expect(decoded.map((one) => ({ ...one, payload: Uint8Array.from(one.payload) }))).toEqual(
          records.map((one) => ({ ...one, topic: one.topic.toWellFormed() })),
        )
      }),
    )
  })

  it('never reads past its end, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
        try {
          decodeBody(Uint8Array.from([1, ...noise]))
        } catch (error) {
          expect(error).toMatchObject({ code: 'BLOCK_MALFORMED' })
        }
      }),
    )
  })

  it('has the checksum of RFC 3720', () => {
    expect(checksum(Buffer.from('123456789'))).toBe(0xe3069283)
    expect(checksum(new Uint8Array(32))).toBe(0x8a9136aa)
  })
})
