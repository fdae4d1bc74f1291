/** How values are written on the command line; wrong ones are told as wrong usage. */

import { InvalidArgumentError } from 'commander'
import { BusbarError } from '../../shared/errors.ts'
import { INSTANT_FORM, readInstant } from '../../shared/instant.ts'

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Milliseconds of `90s`, `15m`, `1.5h`, `2d`, `250ms`. */
export function durationMs(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text)
  if (match === null)
    throw new InvalidArgumentError('It must be a number and a unit, such as 250ms, 90s, 15m, 2h or 1d.')
  return Math.round(Number(match[1]) * (UNITS_MS[match[2] as string] as number))
}

/** RFC 3339, or how long ago in milliseconds. */
export type When = string | number

export function when(text: string): When {
  if (readInstant(text) !== null) return text
  try {
    return durationMs(text)
  } catch {
    throw new InvalidArgumentError(`It must be how long ago, such as 90s, 2h or 1d, or ${INSTANT_FORM}.`)
  }
}

/** RFC 3339. */
export function instantOf(given: When | undefined, nowMs: number): string | undefined {
  return typeof given === 'number' ? new Date(nowMs - given).toISOString() : given
}

export function positiveInteger(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('It must be a positive integer.')
  return Number(text)
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.')
  return Number(text)
}

export function decimal(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new InvalidArgumentError('It must be a number.')
  return Number(text)
}

/** For an option that may be given several times. */
export function collected(text: string, before: readonly string[] = []): string[] {
  return [...before, text]
}

export interface AbortThreshold {
  readonly on: string
  readonly percent: number
  readonly min_results?: number
}

/** `FAILED=20%` or `FAILED=20%/50`: a share of the results, once there are so many. */
export function abortThreshold(text: string, before: readonly AbortThreshold[] = []): AbortThreshold[] {
  const match = /^([A-Za-z_]+)=(\d+(?:\.\d+)?)%?(?:\/([1-9]\d{0,5}))?$/.exec(text)
  if (match === null) {
    throw new InvalidArgumentError('It must be OUTCOME=PERCENT or OUTCOME=PERCENT/RESULTS, such as FAILED=20%/50.')
  }
  const [, on, percent, results] = match as unknown as [string, string, string, string?]
  const from = results === undefined ? {} : { min_results: Number(results) }
  return [...before, { on: on.toUpperCase(), percent: Number(percent), ...from }]
}

/**
 * One JSON value, such as the parameters of a command, or its members as `key=value`. A value that is JSON counts as that, any
 * other is text: `force=true` is a boolean, `id=TOU-1` text, `id='"7"'` the text 7. Undefined for none.
 * @throws BusbarError USAGE, naming the option.
 */
export function jsonOrMembers(given: readonly string[], option = '--params'): unknown {
  if (given.length === 0) return undefined
  const [only] = given
  if (given.length === 1 && only !== undefined && !/^[^\s"'{}[\]=]+=/.test(only)) {
    const value = parsed(only)
    if (value === undefined) throw neitherOf(only, option)
    return value
  }
  const members = given.map((each): [string, unknown] => {
    const at = each.indexOf('=')
    if (at <= 0) throw neitherOf(each, option)
    const text = each.slice(at + 1)
    return [each.slice(0, at), parsed(text) ?? text]
  })
  return Object.fromEntries(members)
}

function neitherOf(text: string, option: string): BusbarError {
  const hint = `give ${option} as one JSON value, or as key=value, several times if need be`
  return new BusbarError(`${option} ${text} is neither JSON nor key=value`, { code: 'USAGE', hint })
}

/** Undefined when it is not JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
