/** Days as the activity log has them: UTC, written such as 2026-01-31, so that texts are in the order of time. Pure. */

import { DAY_MS } from '../../shared/durations.ts'

export const DAY_PATTERN = '^\\d{4}-\\d{2}-\\d{2}$'
const DAY = new RegExp(DAY_PATTERN)

/** The day that a time is of. @param ms Unix milliseconds. */
export function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}

/** When it is over, Unix milliseconds. */
export function endOfDay(day: string): number {
  return Date.parse(`${day}T00:00:00Z`) + DAY_MS
}

/** Whether it is the text of a day, and the calendar has it. */
export function isDay(text: string): boolean {
  if (!DAY.test(text)) return false
  const endMs = endOfDay(text)
  return !Number.isNaN(endMs) && dayOf(endMs - DAY_MS) === text
}

/** Of what somebody has changed it may be no time at all, which is told like any other. */
export function instantText(ms: number): string {
  const date = new Date(ms)
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString()
}
