/** The flags of `busbar-cloud task start` as the body of POST /api/v1/tasks. */

import { readFileSync } from 'node:fs'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { type AbortThreshold, jsonOrMembers } from './values.ts'

export interface StartFlags {
  readonly type: string
  readonly params?: readonly string[]
  readonly device?: readonly string[]
  readonly devicesFile?: string
  readonly site?: number
  readonly deviceType?: string
  readonly requestedBy?: string | undefined
  /** Durations are milliseconds. */
  readonly expiresIn?: number
  readonly timeout?: number
  readonly retries?: number
  readonly retryBackoff?: number
  readonly concurrency?: number
  /** Devices a minute. */
  readonly rate?: number
  readonly rateGrowth?: number
  readonly abort?: readonly AbortThreshold[]
  /** RFC 3339. */
  readonly startAt?: string
}

/** What is absent is left out, so that the server's defaults count. @throws BusbarError USAGE */
export function taskRequest(flags: StartFlags): object {
  const named = flags.device ?? []
  const listed = flags.devicesFile === undefined ? [] : readDevices(flags.devicesFile)
  const given = flags.device !== undefined || flags.devicesFile !== undefined
  if (!given && flags.site === undefined && flags.deviceType === undefined) {
    throw usage('which devices?', 'give --device, --devices-file, --site or --device-type')
  }
  return defined({
    command_type: flags.type,
    command_params: jsonOrMembers(flags.params ?? []),
    device_ids: given ? [...named, ...listed] : undefined,
    site_id: flags.site,
    device_type: flags.deviceType,
    requested_by: flags.requestedBy,
    options: optionsOf(flags),
  })
}

function optionsOf(flags: StartFlags): object | undefined {
  if (flags.retryBackoff !== undefined && flags.retries === undefined) {
    throw usage('--retry-backoff without --retries', 'say how many with --retries')
  }
  if (flags.rateGrowth !== undefined && flags.rate === undefined) {
    throw usage('--rate-growth without --rate', 'say where it begins with --rate')
  }
  const options = defined({
    expires_in_ms: flags.expiresIn,
    timeout_ms: flags.timeout,
    retries: flags.retries === undefined ? undefined : defined({ max: flags.retries, backoff_ms: flags.retryBackoff }),
    concurrency: flags.concurrency,
    rate: flags.rate === undefined ? undefined : defined({ per_minute: flags.rate, growth_factor: flags.rateGrowth }),
    abort: flags.abort,
    start_at: flags.startAt,
  })
  return Object.keys(options).length === 0 ? undefined : options
}

/** Serial numbers, one a line; blank lines and those that begin with # do not count. `-` is standard input. */
function readDevices(file: string): string[] {
  let text: string
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8')
  } catch (error) {
    throw usage(`the devices cannot be read: ${messageOf(error)}`, 'give a file with one serial number a line')
  }
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
}

function usage(message: string, hint: string): BusbarError {
  return new BusbarError(message, { code: 'USAGE', hint })
}

function defined(members: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined))
}
