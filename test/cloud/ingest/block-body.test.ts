import { describe, expect, test } from 'vitest'
import { openBlock, zstdContentBytes } from '../../../cloud/ingest/block-body.ts'
import { isRejection } from '../../../cloud/ingest/json-object.ts'
import { BLOCK_BODY_BYTES_MAX } from '../../../shared/limits.ts'
import { wireBlock } from '../../support/raw-gateway.ts'

function problemWith(changes: Parameters<typeof wireBlock>[2]): string {
  const opened = openBlock(wireBlock(1, ['{"a":1}', '{"a":2}'], changes))
  return isRejection(opened) ? opened.message : 'none'
}

describe('a block', () => {
  test.each(['identity', 'zstd'] as const)('of encoding %s gives its records', (encoding) => {
    const opened = openBlock(wireBlock(1, ['{"a":1}', '{"a":2}'], {}, encoding))
    if (isRejection(opened)) throw new Error(opened.message)
    expect(opened.map(({ payload }) => Buffer.from(payload).toString())).toEqual(['{"a":1}', '{"a":2}'])
  })

  test('that was damaged is corrupt', () => {
    expect(problemWith({ crc32c: 1 })).toContain('checksum')
    expect(problemWith({ recordCount: 3 })).toContain('2 records, not 3')
    expect(problemWith({ bodyBytes: 5 })).toContain('not 5')
    expect(problemWith({ encoding: 9 as never })).toContain('encoding 9')
    expect(problemWith({ bodyBytes: BLOCK_BODY_BYTES_MAX + 1 })).toContain(String(BLOCK_BODY_BYTES_MAX))
  })

  test('that declares more than it may is refused before anything is decompressed', () => {
    const bomb = Bun.zstdCompressSync(Buffer.alloc(64 * 1024 * 1024))
    expect(zstdContentBytes(bomb)).toBe(64 * 1024 * 1024)
    const block = wireBlock(1, ['{}'], {}, 'zstd', bomb)
    expect(openBlock({ ...block, bodyBytes: 1000 })).toMatchObject({
      message: expect.stringContaining('67108864'),
    })
  })

  test('of two frames gives no more than the first declares', () => {
    const small = Bun.zstdCompressSync(Buffer.from('abc'))
    const bomb = Bun.zstdCompressSync(Buffer.alloc(8 * 1024 * 1024))
    const block = wireBlock(1, ['{}'], {}, 'zstd', Buffer.concat([small, bomb]))
    expect(isRejection(openBlock({ ...block, bodyBytes: 3 }))).toBe(true)
  })

  test.each([10, 300, 70_000])('of %d bytes has its size read from the frame', (length) => {
    expect(zstdContentBytes(Bun.zstdCompressSync(Buffer.alloc(length)))).toBe(length)
  })
})
