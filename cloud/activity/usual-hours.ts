/** At which hours of the day somebody is usually there. Pure. */

/** In place of an hour: the days on which somebody was there at all. */
export const ANY_HOUR = -1

/** An hour is usual when one day of this many had it, or one next to it. */
const RARITY = 20
/** Days beyond this many do not make an hour rarer: whoever changes their hours is soon known by the new ones. */
const DAYS_WEIGHED_MAX = 60

/** @param daysAt on how many days they were there at that hour, or at any. */
export function isUnusualHour(hour: number, daysAt: (hour: number) => number, daysMin: number): boolean {
  const days = daysAt(ANY_HOUR)
  if (days < daysMin) return false
  const near = daysAt((hour + 23) % 24) + daysAt(hour) + daysAt((hour + 1) % 24)
  return near * RARITY < Math.min(days, DAYS_WEIGHED_MAX)
}
