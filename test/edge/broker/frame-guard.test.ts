import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FrameGuard } from '../../../edge/broker/frame-guard.ts'
import { connectFrame, frame, PINGREQ, publishFrame } from './support/frames.ts'

/** Every frame found in `chunks`, copied. */
function split(guard: FrameGuard, chunks: readonly Uint8Array[]): Buffer[] {
  const frames: Buffer[] = []
  for (const chunk of chunks) {
    guard.push(Buffer.from(chunk))
    while (guard.next()) frames.push(Buffer.from(guard.bytes.subarray(guard.start, guard.end)))
  }
  return frames
}

describe('the frame guard', () => {
  test('finds the same frames however the bytes are cut', () => {
    const payload = fc.uint8Array({ maxLength: 400 })
    const cuts = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 40 })
    fc.assert(
      fc.property(fc.array(payload, { maxLength: 8 }), cuts, (payloads, sizes) => {
        const frames = [connectFrame(), ...payloads.map((bytes) => publishFrame('a/b', bytes)), PINGREQ]
        const all = Buffer.concat(frames)
        const chunks: Buffer[] = []
        for (let at = 0, i = 0; at < all.length; i++) {
          const size = sizes[i % sizes.length] as number
          chunks.push(all.subarray(at, at + size))
          at += size
        }
        const guard = new FrameGuard(4096)
        expect(split(guard, chunks)).toEqual(frames)
        expect(guard.violation).toBeNull()
        expect(guard.bufferedBytes).toBe(0)
      }),
      { numRuns: 300 },
    )
  })

  test('keeps what is left of a chunk when another arrives before it was looked at', () => {
    const guard = new FrameGuard(4096)
    guard.push(Buffer.concat([connectFrame(), PINGREQ]))
    expect(guard.next()).toBe(true)
    guard.push(Buffer.from(PINGREQ))
    expect(guard.next()).toBe(true)
    expect(guard.next()).toBe(true)
    expect(guard.next()).toBe(false)
  })

  test('points at the body behind a header of any length', () => {
    const guard = new FrameGuard(100_000)
    split(guard, [connectFrame()])
    guard.push(publishFrame('a', Buffer.alloc(20_000)))
    expect(guard.next()).toBe(true)
    expect(guard.body - guard.start).toBe(4)
  })

  test.each([
    ['a first packet that is no CONNECT', PINGREQ, 'first-packet-not-connect'],
    ['a CONNECT with reserved flags', Buffer.of(0x11), 'first-packet-not-connect'],
    ['a CONNECT that declares 200 MB', Buffer.of(0x10, 0x80, 0x88, 0xae, 0x5f), 'frame-too-large'],
    ['a length of five bytes', Buffer.of(0x10, 0xff, 0xff, 0xff, 0xff), 'malformed-length'],
  ])('refuses %s at its header', (_what, bytes, violation) => {
    const guard = new FrameGuard(4096)
    expect(
      split(
        guard,
        Array.from(bytes, (byte) => Uint8Array.of(byte)),
      ),
    ).toEqual([])
    expect(guard.violation).toBe(violation)
    expect(guard.bufferedBytes).toBe(0)
  })

  test.each([0x00, 0x0f, 0xf0, 0xff])('refuses a packet of type byte %i', (first) => {
    const guard = new FrameGuard(4096)
    split(guard, [connectFrame(), Buffer.of(first)])
    expect(guard.violation).toBe('malformed-packet')
  })

  test('accepts a frame of exactly the limit, header included, and none that is larger', () => {
    const largest = frame(0x30, Buffer.alloc(1021))
    expect(largest.length).toBe(1024)
    const guard = new FrameGuard(1024)
    expect(split(guard, [connectFrame(), largest])).toHaveLength(2)
    expect(split(guard, [frame(0x30, Buffer.alloc(1022))])).toEqual([])
    expect(guard.violation).toBe('frame-too-large')
    expect(guard.declaredBytes).toBe(1025)
  })

  test('never keeps more than the limit, and only what arrived', () => {
    const guard = new FrameGuard(64 * 1024)
    split(guard, [connectFrame(), frame(0x30, Buffer.alloc(60_000)).subarray(0, 10)])
    expect(guard.bufferedBytes).toBe(10)
    split(guard, [Buffer.alloc(50_000)])
    expect(guard.bufferedBytes).toBe(50_010)
  })
})
