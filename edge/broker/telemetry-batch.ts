/** Takes a batch of readings apart without changing a byte of any of them. */

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const OPEN_BRACKET = 0x5b
const OPEN_BRACE = 0x7b
const CLOSE_BRACKET = 0x5d
const CLOSE_BRACE = 0x7d

/** True when the first byte that is not white space opens an array. Nothing else of a payload is looked at. */
export function looksLikeBatch(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number
    if (byte > 0x20) return byte === OPEN_BRACKET
  }
  return false
}

/**
 * The elements of a JSON array as views into `payload`; null when it is not JSON, has no elements, or more than
 * `readingsMax`: such a payload is kept whole, and the cloud says what is wrong with it.
 */
export function splitBatch(payload: Uint8Array, readingsMax: number): Uint8Array[] | null {
  const text = Buffer.from(payload.buffer, payload.byteOffset, payload.length)
  try {
    const parsed: unknown = JSON.parse(text.toString('utf8'))
    if (!Array.isArray(parsed) || parsed.length === 0 || parsed.length > readingsMax) return null
  } catch {
    return null
  }
  // It is JSON, so nesting and strings are all there is to follow.
  const elements: Uint8Array[] = []
  let depth = 0
  let from = 0
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case QUOTE:
        for (i++; text[i] !== QUOTE; i++) if (text[i] === BACKSLASH) i++
        break
      case OPEN_BRACKET:
      case OPEN_BRACE:
        if (++depth === 1) from = i + 1
        break
      case CLOSE_BRACKET:
      case CLOSE_BRACE:
        if (--depth === 0) elements.push(trimmed(text, from, i))
        break
      case COMMA:
        if (depth === 1) {
          elements.push(trimmed(text, from, i))
          from = i + 1
        }
        break
    }
  }
  return elements
}

function trimmed(text: Buffer, from: number, to: number): Uint8Array {
  let start = from
  let end = to
  while (start < end && (text[start] as number) <= 0x20) start++
  while (end > start && (text[end - 1] as number) <= 0x20) end--
  return text.subarray(start, end)
}
