/** Texts as the database holds them. */

/** What is stored of a reason, characters. */
const REASON_CHARS_MAX = 500

/** A text as it can be stored: PostgreSQL takes neither a NUL nor half a surrogate pair, such as a cut may leave. */
export function storableText(text: string, charsMax = Number.POSITIVE_INFINITY): string {
  return text.replaceAll('\0', '').slice(0, charsMax).toWellFormed()
}

/** A reason as it can be stored. */
export function storableReason(reason: string | null | undefined): string | null {
  return reason === null || reason === undefined ? null : storableText(reason, REASON_CHARS_MAX)
}

/** For `like … escape '!'`: whatever has `text` in it, taken as it is written. */
export function patternContaining(text: string): string {
  return `%${text.replaceAll(/[!%_]/g, '!$&')}%`
}

/** The value of stored JSON text; null for none. */
export function parsedText(text: string | null): unknown {
  return text === null ? null : JSON.parse(text)
}
