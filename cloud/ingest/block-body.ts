/** From a block as it was sent to its records; what fails here will fail every time. */

import { type Block, Encoding } from '../../proto/generated/busbar/edge/v1/uplink.ts'
import { type BlockRecord, checksum, decodeBody } from '../../shared/block.ts'
import { messageOf } from '../../shared/errors.ts'
import { BLOCK_BODY_BYTES_MAX } from '../../shared/limits.ts'
import type { Rejection } from './json-object.ts'

/** The records of a block, or why it is corrupt. */
export function openBlock(block: Block): BlockRecord[] | Rejection {
  const { data, bodyBytes, recordCount } = block
  if (bodyBytes > BLOCK_BODY_BYTES_MAX) return corrupt(`a body of ${bodyBytes} bytes is above ${BLOCK_BODY_BYTES_MAX}`)
  if (checksum(data) !== block.crc32c) return corrupt('the checksum does not match')
  try {
    const body = decompress(block)
    if (body.length !== bodyBytes) return corrupt(`the body has ${body.length} bytes, not ${bodyBytes}`)
    const records = decodeBody(body)
    if (records.length !== recordCount) return corrupt(`it holds ${records.length} records, not ${recordCount}`)
    return records
  } catch (error) {
    return corrupt(messageOf(error))
  }
}

function decompress({ encoding, data, bodyBytes }: Block): Uint8Array {
  if (encoding === Encoding.IDENTITY) return data
  if (encoding !== Encoding.ZSTD) throw new Error(`encoding ${encoding} is not known`)
  // Checked before decompressing, which allocates what the frame declares: a kilobyte can declare gigabytes.
  const declared = zstdContentBytes(data)
  if (declared !== bodyBytes) throw new Error(`the frame declares ${declared ?? 'no'} bytes, not ${bodyBytes}`)
  return Bun.zstdDecompressSync(data)
}

const ZSTD_MAGIC = 0xfd2fb528

/** Frame_Content_Size of a zstd frame (RFC 8878, section 3.1.1.1), or null when it is absent or no frame begins here. */
export function zstdContentBytes(data: Buffer): number | null {
  if (data.length < 6 || data.readUInt32LE(0) !== ZSTD_MAGIC) return null
  const descriptor = data[4] as number
  const singleSegment = (descriptor & 0x20) !== 0
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 0x03] as number
  const at = 5 + (singleSegment ? 0 : 1) + dictionaryBytes
  const sizeBytes = [singleSegment ? 1 : 0, 2, 4, 8][descriptor >>> 6] as number
  if (sizeBytes === 0 || data.length < at + sizeBytes) return null
  switch (sizeBytes) {
    case 1:
      return data[at] as number
    case 2:
      return data.readUInt16LE(at) + 256
    case 4:
      return data.readUInt32LE(at)
    default:
      return Number(data.readBigUInt64LE(at))
  }
}

function corrupt(message: string): Rejection {
  return { code: 'BLOCK_CORRUPT', message: `the block is corrupt: ${message}` }
}
