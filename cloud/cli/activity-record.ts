/** `busbar-cloud activity record`: an entry of somebody's own. */

import { type Command, InvalidArgumentError, Option } from 'commander'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { BusbarError } from '../../shared/errors.ts'
import { isObject } from '../../shared/json-object.ts'
import { OUTCOMES } from '../activity/event.ts'
import type { ActivityTools } from './activity.ts'
import { ACTIVITIES_PATH } from './activity-filter.ts'
import { type ApiFlags, addApiOptions, writeJson } from './api-options.ts'
import { collected, instantOf, jsonOrMembers, positiveInteger, type When, when } from './values.ts'

interface RecordFlags extends ApiFlags {
  readonly user?: string
  readonly outcome?: string
  readonly object?: GivenObject
  readonly site?: number
  readonly at?: When
  readonly metadata?: readonly string[]
  readonly correlation?: string
  readonly idempotencyKey?: string
}

interface GivenObject {
  readonly objectType: string
  readonly objectId: string
}

const HELP = `
It prints the id of the entry once the bus has it; the entry is in the log a moment later. Nothing secret belongs into it.

Examples:
  busbar-cloud activity record settings_changed --object panel/3 --metadata what=limits
  busbar-cloud activity record login_failed --user ann --outcome FAILURE --metadata ipAddress=192.0.2.7`

export function addRecordCommand(activity: Command, { action }: CommandLine, tools: ActivityTools): void {
  addApiOptions(activity.command('record <type>').description('record an entry, of a type that `activity types` lists'))
    .option('--user <user>', 'who did it; without it you')
    .addOption(new Option('--outcome <outcome>', 'how it went').choices(OUTCOMES).default('SUCCESS'))
    .addOption(new Option('--object <type/id>', 'what it was done to, such as panel/3').argParser(givenObject))
    .addOption(new Option('--site <id>', 'where').argParser(positiveInteger))
    .addOption(new Option('--at <time>', 'when: 2h, for two hours ago, or RFC 3339; without it now').argParser(when))
    .addOption(
      new Option('--metadata <json or key=value>', 'more of it; key=value may be given several times').argParser(
        collected,
      ),
    )
    .option('--correlation <id>', 'of the request that it came of')
    .option('--idempotency-key <key>', 'the same key never records a second entry')
    .addHelpText('after', HELP)
    .action(action((type: string, flags: RecordFlags) => record(type, flags, tools)))
}

async function record(activityType: string, flags: RecordFlags, tools: ActivityTools): Promise<number> {
  const { terminal, clock, env } = tools
  const given = {
    userId: flags.user ?? (tools.isSomebody(flags) ? undefined : env.USER),
    activityType,
    timestamp: instantOf(flags.at, clock.wallMs()),
    metadata: metadataOf(flags.metadata ?? []),
    outcome: flags.outcome,
    ...flags.object,
    siteId: flags.site,
    correlationId: flags.correlation,
  }
  const answer = await tools
    .api(flags)
    .post<{ readonly eventIds: readonly string[] }>(ACTIVITIES_PATH, given, flags.idempotencyKey)
  if (flags.json) writeJson(terminal, answer)
  else for (const eventId of answer.eventIds) terminal.out(`${eventId}\n`)
  return EXIT_OK
}

function metadataOf(given: readonly string[]): Readonly<Record<string, unknown>> | undefined {
  const metadata = jsonOrMembers(given, '--metadata')
  if (metadata === undefined || isObject(metadata)) return metadata
  throw new BusbarError(`--metadata ${given.join(' ')} is no object`, {
    code: 'USAGE',
    hint: 'give --metadata as one JSON object, or as key=value, several times if need be',
  })
}

function givenObject(text: string): GivenObject {
  const at = text.indexOf('/')
  if (at <= 0 || at === text.length - 1) throw new InvalidArgumentError('It must be type/id, such as panel/3.')
  return { objectType: text.slice(0, at), objectId: text.slice(at + 1) }
}
