/** Values of records that are to be JSON. */

const strictUtf8 = new TextDecoder('utf-8', { fatal: true })

/** Undefined when it is not JSON in UTF-8. */
export function readJson(value: Buffer): unknown {
  try {
    return JSON.parse(strictUtf8.decode(value))
  } catch {
    return undefined
  }
}
