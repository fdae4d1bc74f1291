/** Which entries of the activity log are meant, and where they are asked for. */

import { type Command, Option } from 'commander'
import { OUTCOMES } from '../activity/event.ts'
import type { Query } from './api-client.ts'
import { collected, instantOf, positiveInteger, type When, when } from './values.ts'

export const ACTIVITIES_PATH = '/api/v1/activities'

export interface FilterFlags {
  readonly user?: string
  readonly type?: readonly string[]
  readonly since?: When
  readonly until?: When
  readonly objectType?: string
  readonly object?: string
  readonly site?: number
  readonly outcome?: string
  readonly correlation?: string
  readonly toldBy?: string
  readonly text?: string
}

export function addFilterOptions(command: Command): Command {
  return command
    .option('--user <user>', 'only of this user, or of a program: api-key:<id>')
    .addOption(
      new Option('--type <type>', 'only of this type, such as login; may be given several times').argParser(collected),
    )
    .addOption(new Option('--since <time>', 'only done since then: 2h, for two hours ago, or RFC 3339').argParser(when))
    .addOption(
      new Option('--until <time>', 'only done before then: 2h, for two hours ago, or RFC 3339').argParser(when),
    )
    .option('--object <id>', 'only done to this, such as cmd-1a2b3c4d')
    .option('--object-type <type>', 'only done to such things, such as alert-rule')
    .addOption(new Option('--site <id>', 'only at this site').argParser(positiveInteger))
    .addOption(new Option('--outcome <outcome>', 'only with this outcome').choices(OUTCOMES))
    .option('--correlation <id>', 'only of the request with this id')
    .option('--told-by <who>', 'only what this user or program told of, such as api-key:<id>')
    .option('--text <text>', 'only with this in the metadata, such as an address, or the serial number of a device')
}

/** Of what is to come: its times are refused with a word on what to use instead, and not offered. */
export function hideTimes(command: Command): Command {
  for (const option of command.options) if (option.long === '--since' || option.long === '--until') option.hideHelp()
  return command
}

export function filterOf(flags: FilterFlags, nowMs: number): Query {
  return {
    userId: flags.user,
    activityType: flags.type?.join(','),
    from: instantOf(flags.since, nowMs),
    to: instantOf(flags.until, nowMs),
    objectType: flags.objectType,
    objectId: flags.object,
    siteId: flags.site,
    outcome: flags.outcome,
    correlationId: flags.correlation,
    recordedBy: flags.toldBy,
    text: flags.text,
  }
}
