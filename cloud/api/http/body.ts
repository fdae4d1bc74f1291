/** Reads a JSON body: its media type first, then its bytes up to the limit, then JSON. */

import { createHash } from 'node:crypto'
import { messageOf } from '../../../shared/errors.ts'
import { Problem } from './problem.ts'

export interface JsonBody {
  readonly value: unknown
  /** SHA-256 of the bytes, hexadecimal; tells two bodies apart. */
  digest(): string
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true })

/**
 * Throws MEDIA_TYPE_UNSUPPORTED, BODY_TOO_LARGE or BODY_MALFORMED.
 * @param optional whether a request without a body stands for one with an empty object.
 */
export async function readJsonBody(request: Request, bytesMax: number, optional = false): Promise<JsonBody> {
  if (optional && !hasBody(request)) return jsonBody({}, new Uint8Array())
  const mediaType = (request.headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
  // Insisting on this type also keeps other sites' pages out: a browser asks before sending it across origins.
  if (mediaType !== 'application/json') {
    throw new Problem('MEDIA_TYPE_UNSUPPORTED', `The body is ${mediaType === '' ? 'of no stated type' : mediaType}.`, {
      hint: 'Send Content-Type: application/json.',
      headers: { accept: 'application/json' },
    })
  }
  const bytes = await readBytes(request, bytesMax)
  try {
    return jsonBody(JSON.parse(strictUtf8.decode(bytes)), bytes)
  } catch (error) {
    // What the parser quotes may be a password without its own quotes.
    const reason = messageOf(error).replace(/\s*".*"/s, '')
    throw new Problem('BODY_MALFORMED', `The body is not JSON: ${reason}.`, { cause: error })
  }
}

/** RFC 9112, section 6: one of these headers tells. */
function hasBody({ headers }: Request): boolean {
  return headers.has('transfer-encoding') || (headers.get('content-length') ?? '0') !== '0'
}

function jsonBody(value: unknown, bytes: Uint8Array): JsonBody {
  return { value, digest: () => createHash('sha256').update(bytes).digest('hex') }
}

async function readBytes(request: Request, bytesMax: number): Promise<Uint8Array> {
  const declared = request.headers.get('content-length')
  if (declared !== null) {
    if (!(Number(declared) <= bytesMax)) throw tooLarge(bytesMax)
    return new Uint8Array(await request.arrayBuffer())
  }
  // A chunked body declares nothing, so it is counted as it comes.
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of request.body ?? []) {
    length += chunk.byteLength
    if (length > bytesMax) throw tooLarge(bytesMax)
    chunks.push(chunk)
  }
  return chunks.length === 1 ? (chunks[0] as Uint8Array) : Buffer.concat(chunks)
}

function tooLarge(bytesMax: number): Problem {
  return new Problem('BODY_TOO_LARGE', `The body has more than ${bytesMax} bytes.`, {
    hint: 'Send less at once.',
    // The rest of the body is not read, so the connection cannot be used for another request.
    headers: { connection: 'close' },
  })
}
