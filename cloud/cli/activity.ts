/** `busbar-cloud activity`: who did what, and whether the log of it is as it was written. */

import { Option } from 'commander'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { ActivityTypeEntry } from '../activity/activity.ts'
import { ACTIVITY_EXPORT_FORMATS } from '../activity/activity-export.ts'
import type { ActivityView } from '../activity/activity-view.ts'
import type { CloudConfig } from '../config.ts'
import { type ExportFlags, exportActivities } from './activity-export.ts'
import { ACTIVITIES_PATH, addFilterOptions, type FilterFlags, filterOf, hideTimes } from './activity-filter.ts'
import { followActivities } from './activity-follow.ts'
import { addRecordCommand } from './activity-record.ts'
import { type DayView, writeDays, writeEntries, writeEntry, writeTypes } from './activity-report.ts'
import { addVerifyCommand } from './activity-verify.ts'
import type { ApiClient } from './api-client.ts'
import {
  type ApiFlags,
  type ApiTools,
  addApiOptions,
  type Environment,
  type ListFlags,
  limitOption,
  writeJson,
} from './api-options.ts'
import { ME_PATH } from './chat-api.ts'

export interface ActivityTools extends ApiTools {
  readonly random: Random
  readonly env: Environment
  /** Of a command that answers on standard output. */
  readonly log: (config: CloudConfig) => Logger
}

export function addActivityCommands(line: CommandLine, tools: ActivityTools): void {
  const { action } = line
  const { terminal, clock } = tools
  const activity = line.program.command('activity').description('who did what: the activity log')

  addFilterOptions(addApiOptions(activity.command('list').description('list entries, the newest first')))
    .addOption(new Option('--mine', 'only your own, which you may see without being an auditor').conflicts('user'))
    .addOption(limitOption())
    .action(
      action(async (flags: ApiFlags & ListFlags & FilterFlags & { readonly mine?: boolean }) => {
        const api = tools.api(flags)
        const path = flags.mine ? await ownPath(api) : ACTIVITIES_PATH
        const page = await api.list<ActivityView>(path, filterOf(flags, clock.wallMs()), flags.limit)
        if (flags.json) writeJson(terminal, page.items)
        else {
          writeEntries(page.items, terminal)
          if (page.items.length === 0) terminal.err('no entry matches\n')
          if (page.nextCursor !== null) terminal.err('there are more: --limit shows them\n')
        }
        return EXIT_OK
      }),
    )
  hideTimes(
    addFilterOptions(
      addApiOptions(activity.command('follow').description('show entries as they are stored, from now on')),
    ),
  ).action(
    action(async (flags: ApiFlags & FilterFlags) => {
      if (flags.since !== undefined || flags.until !== undefined) {
        throw new BusbarError('what is to come has no --since and no --until', {
          code: 'USAGE',
          hint: '`busbar-cloud activity list` has what was',
        })
      }
      const stopping = new AbortController()
      process.once('SIGINT', () => stopping.abort())
      return await followActivities({
        ...{ api: tools.api(flags), filter: filterOf(flags, clock.wallMs()), json: flags.json },
        ...{ terminal, clock, signal: stopping.signal },
      })
    }),
  )
  addApiOptions(activity.command('show <event>').description('show one entry, with its place in the chain')).action(
    action(async (eventId: string, flags: ApiFlags) => {
      const entry = await tools.api(flags).get<ActivityView>(`${ACTIVITIES_PATH}/${encodeURIComponent(eventId)}`)
      if (flags.json) writeJson(terminal, entry)
      else writeEntry(entry, terminal)
      return EXIT_OK
    }),
  )
  addFilterOptions(addApiOptions(activity.command('export').description('all entries that match, the newest first')))
    .addOption(new Option('--format <format>', 'of the file').choices(ACTIVITY_EXPORT_FORMATS).default('ndjson'))
    .option('-o, --output <file>', 'write a file that only you may read, instead of standard output')
    .action(
      action(async (flags: ApiFlags & FilterFlags & ExportFlags) => {
        const to = { api: tools.api(flags), terminal, nowMs: () => clock.monotonicMs() }
        return await exportActivities(flags, filterOf(flags, clock.wallMs()), to)
      }),
    )
  addRecordCommand(activity, line, tools)
  addApiOptions(activity.command('types').description('list the types that an entry may have')).action(
    action(async (flags: ApiFlags) => {
      const { items } = await tools.api(flags).get<{ readonly items: ActivityTypeEntry[] }>('/api/v1/activity-types')
      if (flags.json) writeJson(terminal, items)
      else writeTypes(items, terminal)
      return EXIT_OK
    }),
  )
  addApiOptions(activity.command('days').description('list the days of the chain of hashes, the newest first'))
    .addOption(limitOption())
    .action(
      action(async (flags: ApiFlags & ListFlags) => {
        const page = await tools.api(flags).list<DayView>('/api/v1/activity-days', {}, flags.limit)
        if (flags.json) writeJson(terminal, page.items)
        else writeDays(page.items, terminal)
        if (page.nextCursor !== null) terminal.err('there are more: --limit shows them\n')
        return EXIT_OK
      }),
    )
  addVerifyCommand(activity, line, tools)
}

async function ownPath(api: ApiClient): Promise<string> {
  const { id } = await api.get<{ readonly id: string }>(ME_PATH)
  return `/api/v1/users/${encodeURIComponent(id)}/activities`
}
