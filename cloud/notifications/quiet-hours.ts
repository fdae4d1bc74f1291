/**
 * When somebody wants to be left in peace, by the clock on their wall. Pure: the time is given. What counts is what that clock
 * shows, so on the night it is put forward quiet hours are an hour shorter, and on the night it is put back an hour longer.
 */

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

interface LocalTime {
  readonly minutes: number
  /** Place in WEEKDAYS. */
  readonly weekday: number
}

/** Making a format takes longer than using it; there are some 600 zones, so beyond this many something else is wrong. */
const ZONES_MAX = 1_000
const zones = new Map<string, Zone>()

interface Zone {
  readonly format: Intl.DateTimeFormat
  /** What was asked for last: many users are told at one time. */
  latest: { readonly ms: number; readonly time: LocalTime } | null
}

export function isTimeZone(name: string): boolean {
  try {
    zoneOf(name)
    return true
  } catch {
    return false
  }
}

/** Whether something of that severity is to come quietly at `nowMs`, Unix milliseconds. */
export function isQuiet(hours: QuietHours | null, severity: Severity, nowMs: number): boolean {
  if (hours === null || (severity === 'CRITICAL' && hours.exceptCritical)) return false
  const { minutes, weekday } = localTime(hours.timeZone, nowMs)
  const [from, to] = [minutesOf(hours.from), minutesOf(hours.to)]
  const begins = (day: number): boolean => hours.days?.includes(WEEKDAYS[day] as Weekday) ?? true
  if (from < to) return minutes >= from && minutes < to && begins(weekday)
  const yesterday = (weekday + WEEKDAYS.length - 1) % WEEKDAYS.length
  return (minutes >= from && begins(weekday)) || (minutes < to && begins(yesterday))
}

function localTime(timeZone: string, ms: number): LocalTime {
  const zone = zoneOf(timeZone)
  if (zone.latest?.ms !== ms) {
    const parts = new Map(zone.format.formatToParts(ms).map(({ type, value }) => [type, value]))
    const weekday = WEEKDAYS.indexOf(String(parts.get('weekday')).toUpperCase() as Weekday)
    zone.latest = { ms, time: { minutes: Number(parts.get('hour')) * 60 + Number(parts.get('minute')), weekday } }
  }
  return zone.latest.time
}

/** @throws RangeError when there is no such zone. */
function zoneOf(timeZone: string): Zone {
  let zone = zones.get(timeZone)
  if (zone === undefined) {
    const format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
    })
    zone = { format, latest: null }
    if (zones.size >= ZONES_MAX) zones.clear()
    zones.set(timeZone, zone)
  }
  return zone
}

function minutesOf(timeOfDay: string): number {
  return Number(timeOfDay.slice(0, 2)) * 60 + Number(timeOfDay.slice(3))
}
