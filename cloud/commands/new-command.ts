/** A request for a command, and everything that can be wrong with it. */

import type { SelectedDevice } from '../registry/device-selection.ts'
import { COMMAND_PLACES, type CommandProblem, type CommandRules, checkCommand } from './command-types.ts'

/** How long a command may be asked to wait for its device, milliseconds: a second to thirty days. */
export const EXPIRES_IN_MS_RANGE = [1_000, 2_592_000_000] as const
/** How long a device may be given to answer, milliseconds: up to a day. */
export const TIMEOUT_MS_RANGE = [100, 86_400_000] as const
/** Sites named in the refusal of a serial number that several have. */
const SITES_NAMED_MAX = 10

export interface NewCommand {
  /** Serial number. */
  readonly deviceId: string
  /** Needed only where several sites have a device of this serial number. */
  readonly siteId?: number | undefined
  readonly name: string
  /** Any JSON; absent or null for none. */
  readonly payload?: unknown
  /** Unix milliseconds. Not together with `expiresInMs`; the configured time from now when both are absent. */
  readonly expiresAtMs?: number | undefined
  readonly expiresInMs?: number | undefined
  /** How long the device may take to answer; the configured time when absent. */
  readonly timeoutMs?: number | undefined
}

export interface CommandSettings extends CommandRules {
  /** Take commands for devices that are not registered; only consumers of command.events learn of those. */
  readonly allowUnknownDevices: boolean
  /** How long a command waits for its device where the request does not say, milliseconds. */
  readonly expiryMs: number
  /** How long a device may take to answer where the request does not say, milliseconds. */
  readonly timeoutMs: number
  /** How long finished commands are kept, days. */
  readonly keptDays: number
}

/**
 * What is wrong with what is given of a request; the members that are absent are not missed.
 * @param candidates the registered devices that it may mean; undefined when they were not looked for.
 */
export function commandProblems(
  request: Partial<NewCommand>,
  candidates: readonly SelectedDevice[] | undefined,
  settings: CommandSettings,
  nowMs: number,
): CommandProblem[] {
  const { name, payload } = request
  return [
    ...(candidates === undefined ? [] : deviceProblems(request, candidates, settings)),
    ...(name === undefined ? [] : checkCommand(name, payload, settings, COMMAND_PLACES)),
    ...expiryProblems(request, nowMs),
    ...rangeProblems('/timeout_ms', request.timeoutMs, TIMEOUT_MS_RANGE),
  ]
}

/** When it expires, Unix milliseconds. */
export function expiryOf(request: NewCommand, settings: CommandSettings, nowMs: number): number {
  return request.expiresAtMs ?? nowMs + (request.expiresInMs ?? settings.expiryMs)
}

function deviceProblems(
  { deviceId, siteId }: Partial<NewCommand>,
  candidates: readonly SelectedDevice[],
  settings: CommandSettings,
): CommandProblem[] {
  if (candidates.length > 1) {
    const sites = candidates.map((device) => device.siteId).sort((a, b) => a - b)
    const named = sites.slice(0, SITES_NAMED_MAX).join(', ')
    const others = sites.length > SITES_NAMED_MAX ? `, and ${sites.length - SITES_NAMED_MAX} more` : ''
    const remedy = `required: the site of the device, because several have a ${deviceId}: ${named}${others}`
    return [{ pointer: '/site_id', remedy }]
  }
  if (candidates.length === 1 || settings.allowUnknownDevices) return []
  const where = siteId === undefined ? '' : ` at site ${siteId}`
  const remedy = `the serial number of a device registered${where}; others only with commands.allowUnknownDevices, by operators of every site`
  return [{ pointer: '/device_id', value: deviceId, remedy }]
}

function expiryProblems({ expiresAtMs, expiresInMs }: Partial<NewCommand>, nowMs: number): CommandProblem[] {
  if (expiresAtMs === undefined) return rangeProblems('/expires_in_ms', expiresInMs, EXPIRES_IN_MS_RANGE)
  const problems: CommandProblem[] = []
  const latestMs = nowMs + EXPIRES_IN_MS_RANGE[1]
  if (!(expiresAtMs > nowMs && expiresAtMs <= latestMs)) {
    const remedy = `later than now, ${text(nowMs)}, and at the latest ${text(latestMs)}`
    problems.push({ pointer: '/expires_at', value: text(expiresAtMs), remedy })
  }
  if (expiresInMs !== undefined) {
    problems.push({ pointer: '/expires_in_ms', value: expiresInMs, remedy: 'leave it out, or expires_at' })
  }
  return problems
}

function rangeProblems(
  pointer: string,
  value: number | undefined,
  [least, most]: readonly [number, number],
): CommandProblem[] {
  if (value === undefined || (Number.isInteger(value) && value >= least && value <= most)) return []
  return [{ pointer, value, remedy: `an integer from ${least} to ${most}` }]
}

function text(ms: number): string {
  return new Date(ms).toISOString()
}
