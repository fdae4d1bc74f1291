/** Texts as the database holds them. */

/** What is stored of a reason, characters. */
const REASON_CHARS_MAX = 500

/** A reason as it can be stored: PostgreSQL takes neither a NUL nor half a surrogate pair, such as the cut may leave. */
export function storableReason(reason: string | null | undefined): string | null {
  return reason?.replaceAll('\0', '').slice(0, REASON_CHARS_MAX).toWellFormed() ?? null
}

/** For `like … escape '!'`: whatever has `text` in it, taken as it is written. */
export function patternContaining(text: string): string {
  return `%${text.replaceAll(/[!%_]/g, '!$&')}%`
}

/** The value of stored JSON text; null for none. */
export function parsedText(text: string | null): unknown {
  return text === null ? null : JSON.parse(text)
}
