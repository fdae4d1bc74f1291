/** What the clock on a wall shows, in a time zone. Pure. */

export interface LocalTime {
  /** Such as 2026-01-31. */
  readonly day: string
  /** Three letters in English, such as SAT. */
  readonly weekday: string
  /** 0 to 23 */
  readonly hour: number
  readonly minute: number
}

interface Zone {
  readonly format: Intl.DateTimeFormat
  /** What was asked for last: much is of one time. */
  latest: { readonly ms: number; readonly time: LocalTime } | null
}

/** Making a format takes longer than using it; there are some 600 zones, so beyond this many something else is wrong. */
const ZONES_MAX = 1_000
const zones = new Map<string, Zone>()

/** @param name IANA name, such as Europe/Berlin. */
export function isTimeZone(name: string): boolean {
  try {
    zoneOf(name)
    return true
  } catch {
    return false
  }
}

/** @throws RangeError when there is no such time zone. */
export function localTime(timeZone: string, ms: number): LocalTime {
  const zone = zoneOf(timeZone)
  if (zone.latest?.ms !== ms) {
    const parts = new Map(zone.format.formatToParts(ms).map(({ type, value }) => [type, value]))
    const day = `${parts.get('year')?.padStart(4, '0')}-${parts.get('month')}-${parts.get('day')}`
    const weekday = String(parts.get('weekday')).toUpperCase()
    zone.latest = { ms, time: { day, weekday, hour: Number(parts.get('hour')), minute: Number(parts.get('minute')) } }
  }
  return zone.latest.time
}

/** @throws RangeError when there is no such zone. */
function zoneOf(timeZone: string): Zone {
  let zone = zones.get(timeZone)
  if (zone === undefined) {
    const digits = '2-digit'
    const date = { year: 'numeric', month: digits, day: digits, weekday: 'short' } as const
    const format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      ...date,
      ...({ hour: digits, minute: digits } as const),
    })
    zone = { format, latest: null }
    if (zones.size >= ZONES_MAX) zones.clear()
    zones.set(timeZone, zone)
  }
  return zone
}
