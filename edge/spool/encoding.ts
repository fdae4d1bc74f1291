/** How a body becomes the bytes of a block: compressed when that is worth it, and checksummed as stored. */

import { type BlockRecord, checksum, decodeBody } from '../../shared/block.ts'
import { BusbarError } from '../../shared/errors.ts'

export type Encoding = 'identity' | 'zstd'

export interface EncodedBody {
  readonly encoding: Encoding
  /** CRC-32C of `data`. */
  readonly crc32c: number
  readonly bodyBytes: number
  readonly data: Uint8Array
}

/** A smaller body cannot save more than the zstd frame costs. */
const COMPRESS_BYTES_MIN = 128
/** Compression must save a tenth, or the reader's time is wasted. */
const WORTH_IT = 0.9

export function encodeBody(body: Uint8Array<ArrayBuffer>, level: number): EncodedBody {
  const bodyBytes = body.length
  if (bodyBytes >= COMPRESS_BYTES_MIN) {
    const data = Bun.zstdCompressSync(body, { level })
    if (data.length <= bodyBytes * WORTH_IT) return { encoding: 'zstd', crc32c: checksum(data), bodyBytes, data }
  }
  return { encoding: 'identity', crc32c: checksum(body), bodyBytes, data: body }
}

/**
 * The records of an encoded body, checked in full: checksum, compression, length, layout, count.
 * @throws BusbarError BLOCK_CORRUPT, whatever is wrong.
 */
export function decodeRecords(block: EncodedBody & { readonly recordCount: number }): BlockRecord[] {
  if (checksum(block.data) !== block.crc32c) throw corrupt('its checksum does not match')
  let records: BlockRecord[]
  try {
    const body = block.encoding === 'zstd' ? Bun.zstdDecompressSync(block.data as Uint8Array<ArrayBuffer>) : block.data
    if (body.length !== block.bodyBytes) throw corrupt(`its body has ${body.length} bytes, not ${block.bodyBytes}`)
    records = decodeBody(body)
  } catch (cause) {
    throw cause instanceof BusbarError && cause.code === 'BLOCK_CORRUPT'
      ? cause
      : corrupt('it cannot be decoded', cause)
  }
  if (records.length !== block.recordCount) throw corrupt(`it has ${records.length} records, not ${block.recordCount}`)
  return records
}

function corrupt(reason: string, cause?: unknown): BusbarError {
  return new BusbarError(`block is corrupt: ${reason}`, { code: 'BLOCK_CORRUPT', cause })
}
