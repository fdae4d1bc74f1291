/** When something happened: the device's own timestamp where it can be read and believed, else the time of receipt. */

/** RFC 3339 date-time; a space is allowed in the place of T, as the standard's note says. */
const RFC_3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)$/
/** End of the year 9999, the last that RFC 3339 can write. */
export const WALL_MS_MAX = 253_402_300_799_999

/** Unix milliseconds of a device's timestamp (RFC 3339 text or epoch milliseconds); null when it is neither. */
export function readTimestamp(value: unknown): number | null {
  if (typeof value === 'number') return value >= 0 && value <= WALL_MS_MAX ? Math.floor(value) : null
  if (typeof value !== 'string' || !RFC_3339.test(value)) return null
  const ms = Date.parse(value.toUpperCase().replace(' ', 'T'))
  return ms >= 0 && ms <= WALL_MS_MAX ? ms : null
}

export interface EventTime {
  readonly ms: number
  /** The device's timestamp as it wrote it, when it is not used; null otherwise. */
  readonly refused: string | null
}

/** @param futureToleranceMs how far after `receivedAtMs` a timestamp may lie. */
export function eventTime(timestamp: unknown, receivedAtMs: number, futureToleranceMs: number): EventTime {
  if (timestamp === undefined || timestamp === null) return { ms: receivedAtMs, refused: null }
  const ms = readTimestamp(timestamp)
  if (ms !== null && ms <= receivedAtMs + futureToleranceMs) return { ms, refused: null }
  const written = typeof timestamp === 'string' ? timestamp : JSON.stringify(timestamp)
  return { ms: receivedAtMs, refused: written.slice(0, REFUSED_LENGTH_MAX) }
}

/** Characters of a refused timestamp that are kept in a header. */
const REFUSED_LENGTH_MAX = 64

/** ISO 8601 in UTC with milliseconds; remembers the last, since records come in runs of one millisecond. */
export function isoFormatter(): (ms: number) => string {
  let lastMs = Number.NaN
  let text = ''
  return (ms) => {
    if (ms !== lastMs) {
      text = new Date(ms).toISOString()
      lastMs = ms
    }
    return text
  }
}
