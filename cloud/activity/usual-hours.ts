/** At which hours of the day somebody is usually there. Pure. */

/** In place of an hour: the days on which somebody was there at all. */
export const ANY_HOUR = -1

/** An hour is usual when one day of this many had it, or one next to it. */
const RARITY = 20
/** Days beyond this many do not make an hour rarer: whoever changes their hours is soon known by the new ones. */
const DAYS_WEIGHED_MAX = 60

export interface LocalHour {
  /** 0 to 23 */
  readonly hour: number
  /** Such as 2026-01-31. */
  readonly day: string
}

/** @param daysAt on how many days they were there at that hour, or at any. */
export function isUnusualHour(hour: number, daysAt: (hour: number) => number, daysMin: number): boolean {
  const days = daysAt(ANY_HOUR)
  if (days < daysMin) return false
  const near = daysAt((hour + 23) % 24) + daysAt(hour) + daysAt((hour + 1) % 24)
  return near * RARITY < Math.min(days, DAYS_WEIGHED_MAX)
}

/** Making a format takes longer than using it. */
const formats = new Map<string, Intl.DateTimeFormat>()

/** @throws RangeError when there is no such time zone. */
export function localHour(ms: number, timeZone: string): LocalHour {
  let format = formats.get(timeZone)
  if (format === undefined) {
    const digits = '2-digit'
    const shown = { year: 'numeric', month: digits, day: digits, hour: digits } as const
    format = new Intl.DateTimeFormat('en-US', { timeZone, hourCycle: 'h23', ...shown })
    formats.set(timeZone, format)
  }
  const parts = new Map(format.formatToParts(ms).map(({ type, value }) => [type, value]))
  const day = `${parts.get('year')?.padStart(4, '0')}-${parts.get('month')}-${parts.get('day')}`
  return { hour: Number(parts.get('hour')), day }
}
