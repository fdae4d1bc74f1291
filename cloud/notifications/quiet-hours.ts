/**
 * When somebody wants to be left in peace, by the clock on their wall. Pure: the time is given. What counts is what that clock
 * shows, so on the night it is put forward quiet hours are an hour shorter, and on the night it is put back an hour longer.
 */

import { localTime } from '../../shared/local-time.ts'
import type { Severity } from './notice.ts'

export const WEEKDAYS = ['MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT', 'SUN'] as const
export type Weekday = (typeof WEEKDAYS)[number]

/** `HH:MM`, 00:00 to 23:59. */
export const TIME_OF_DAY = /^([01][0-9]|2[0-3]):[0-5][0-9]$/

export interface QuietHours {
  /** `HH:MM`; from `from` until just before `to`, over midnight when `to` is not later; the same twice is a whole day. */
  readonly from: string
  readonly to: string
  /** IANA name, such as Europe/Berlin. */
  readonly timeZone: string
  /** Days on which they begin; absent for every day. */
  readonly days?: readonly Weekday[] | undefined
  /** CRITICAL comes through. */
  readonly exceptCritical: boolean
}

/** Whether something of that severity is to come quietly at `nowMs`, Unix milliseconds. */
export function isQuiet(hours: QuietHours | null, severity: Severity, nowMs: number): boolean {
  if (hours === null || (severity === 'CRITICAL' && hours.exceptCritical)) return false
  const local = localTime(hours.timeZone, nowMs)
  const minutes = local.hour * 60 + local.minute
  const weekday = WEEKDAYS.indexOf(local.weekday as Weekday)
  const [from, to] = [minutesOf(hours.from), minutesOf(hours.to)]
  const begins = (day: number): boolean => hours.days?.includes(WEEKDAYS[day] as Weekday) ?? true
  if (from < to) return minutes >= from && minutes < to && begins(weekday)
  const yesterday = (weekday + WEEKDAYS.length - 1) % WEEKDAYS.length
  return (minutes >= from && begins(weekday)) || (minutes < to && begins(yesterday))
}

function minutesOf(timeOfDay: string): number {
  return Number(timeOfDay.slice(0, 2)) * 60 + Number(timeOfDay.slice(3))
}
