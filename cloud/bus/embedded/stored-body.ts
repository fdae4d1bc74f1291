/** How the body of a batch lies in its row: compressed when that is worth it, with a checksum, since SQLite has none. */

import { crc32c } from '@platformatic/wasm-utils/bundled'

/** Smaller bodies are stored as they are. */
const COMPRESS_BYTES_MIN = 256
const COMPRESSION_LEVEL = 1
const ENCODING_IDENTITY = 0
const ENCODING_ZSTD = 1

/** CRC-32C of the bytes as they are stored, unsigned. */
export function checksum(bytes: Uint8Array): number {
  return crc32c(bytes) >>> 0
}

export function encodeForStore(body: Uint8Array): { body: Uint8Array; encoding: number } {
  if (body.length >= COMPRESS_BYTES_MIN) {
    const compressed = Bun.zstdCompressSync(body as Uint8Array<ArrayBuffer>, { level: COMPRESSION_LEVEL })
    if (compressed.length < body.length) return { body: compressed, encoding: ENCODING_ZSTD }
  }
  return { body, encoding: ENCODING_IDENTITY }
}

/** The body as it was given, alone in its ArrayBuffer, so that it can be transferred. */
export function decodeStored(stored: Buffer, encoding: number): Uint8Array<ArrayBuffer> {
  const body = encoding === ENCODING_ZSTD ? Bun.zstdDecompressSync(stored as Buffer<ArrayBuffer>) : stored
  const owned = body.byteOffset === 0 && body.byteLength === body.buffer.byteLength
  return owned ? new Uint8Array(body.buffer as ArrayBuffer) : new Uint8Array(body)
}
