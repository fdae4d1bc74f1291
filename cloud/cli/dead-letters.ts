/** `busbar-cloud dead-letters`: what was given up, why, and trying it again. */

import { type Command, Option } from 'commander'
import { EXIT_FAILED, EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { BusbarError } from '../../shared/errors.ts'
import { type ApiFlags, type ApiTools, addApiOptions, type ListFlags, limitOption, writeJson } from './api-options.ts'
import {
  type DeadLetterBody,
  type DetailsBody,
  type ReplayBody,
  type ResultBody,
  type SummaryBody,
  totalsOf,
  writeDeadLetters,
  writeDetails,
  writeResults,
  writeSummary,
} from './dead-letter-report.ts'
import { barOf } from './drawn-line.ts'
import { instantOf, type When, when } from './values.ts'

interface FilterFlags {
  readonly topic?: string
  readonly code?: string
  readonly source?: string
  readonly key?: string
  readonly since?: When
  readonly until?: When
}

interface ReplayFlags extends ApiFlags, FilterFlags {
  readonly all?: boolean
  readonly dryRun?: boolean
  readonly again?: boolean
}

const PATH = '/api/v1/dead-letters'
/** Of one request. */
const REPLAYS = 100

export function addDeadLetterCommands(line: CommandLine, tools: ApiTools): void {
  const { action } = line
  const { terminal } = tools
  const deadLetters = line.program
    .command('dead-letters')
    .description('records that were given up: why, and trying them again')

  addFilterOptions(addApiOptions(deadLetters.command('list').description('list dead letters, the newest first')))
    .addOption(new Option('--replayed', 'only those that were replayed').conflicts('open'))
    .option('--open', 'only those that were not replayed')
    .addOption(limitOption())
    .action(
      action(async (flags: ApiFlags & ListFlags & FilterFlags & { replayed?: boolean; open?: boolean }) => {
        const replayed = flags.replayed ? 'true' : flags.open ? 'false' : undefined
        const query = { ...filterOf(flags, tools), replayed }
        const page = await tools.api(flags).list<DeadLetterBody>(PATH, query, flags.limit)
        if (flags.json) writeJson(terminal, page.items)
        else {
          writeDeadLetters(page.items, terminal)
          if (page.items.length === 0) terminal.err('no dead letter matches\n')
          if (page.nextCursor !== null) terminal.err('there are more: --limit shows them\n')
        }
        return EXIT_OK
      }),
    )
  addApiOptions(deadLetters.command('summary').description('count them by topic and code')).action(
    action(async (flags: ApiFlags) => {
      const summary = await tools.api(flags).get<SummaryBody>(`${PATH}/summary`)
      if (flags.json) writeJson(terminal, summary)
      else writeSummary(summary, terminal)
      return EXIT_OK
    }),
  )
  addApiOptions(
    deadLetters.command('show <id>').description('show one: its error, its headers, and what it was before'),
  ).action(
    action(async (id: string, flags: ApiFlags) => {
      const letter = await tools.api(flags).get<DetailsBody>(`${PATH}/${encodeURIComponent(id)}`)
      if (flags.json) writeJson(terminal, letter)
      else writeDetails(letter, terminal)
      return EXIT_OK
    }),
  )
  addFilterOptions(
    addApiOptions(
      deadLetters
        .command('replay [ids...]')
        .description('publish again what they were before; status 1 when one of them could not be'),
    ),
  )
    .option('--all', 'all that were not replayed')
    .option('--dry-run', 'say what would happen and change nothing')
    .option('--again', 'those as well that were replayed before')
    .addHelpText('after', REPLAY_HELP)
    .action(action((ids: readonly string[], flags: ReplayFlags) => replay(ids, flags, tools)))
}

const REPLAY_HELP = `
Mend the cause first: what would fail again is refused, and nothing is published of it. Each is replayed once, however many
ask for it at the same time.

Examples:
  busbar-cloud dead-letters replay device-telemetry-dlt.2.41
  busbar-cloud dead-letters replay --code UNKNOWN_DEVICE --dry-run
  busbar-cloud dead-letters replay --topic device-telemetry --since 2h`

function addFilterOptions(command: Command): Command {
  return command
    .option('--topic <topic>', 'only those of this topic, such as device-telemetry')
    .option('--code <code>', 'only those with this error, such as UNKNOWN_DEVICE')
    .option('--source <source>', 'only those that this group gave up, or ingest')
    .option('--key <key>', 'only those with this key, such as a serial number')
    .addOption(
      new Option('--since <time>', 'only those dead since then: 2h, for two hours ago, or RFC 3339').argParser(when),
    )
    .addOption(
      new Option('--until <time>', 'only those dead before then: 2h, for two hours ago, or RFC 3339').argParser(when),
    )
}

async function replay(ids: readonly string[], flags: ReplayFlags, tools: ApiTools): Promise<number> {
  const { terminal } = tools
  const { dryRun = false, again = false, json } = flags
  const filter = filterOf(flags, tools)
  const isFiltered = Object.values(filter).some((value) => value !== undefined)
  if (ids.length === 0 && !isFiltered && !flags.all) {
    throw usage(
      'which dead letters?',
      'give their ids, or --topic, --code, --source, --key, --since, --until, or --all',
    )
  }
  if (ids.length > 0 && (isFiltered || flags.all)) {
    throw usage('ids and a filter at once', 'give either ids, or --topic, --code, … or --all')
  }
  const ask = (body: object) => tools.api(flags).post<ReplayBody>(`${PATH}/replay`, { ...body, dryRun, again })
  const pages = ids.length > 0 ? pagesOfIds(ids, ask) : pagesOfFilter(filter, ask)
  const results: ResultBody[] = []
  const screen = terminal.isInteractive && !json
  let shown = false
  for await (const { answered, total } of pages) {
    results.push(...answered)
    if (screen) {
      const counted = { done: results.length, total, what: 'dead letters' }
      terminal.out(`\r\u001b[2K${barOf(counted, terminal.paint, terminal.columns)}`)
      shown = true
    } else if (!json) writeResults(answered, dryRun, terminal)
    // Something that replaying takes is away: it would fail for all that are left.
    if (answered.some(({ outcome }) => outcome === 'FAILED')) break
  }
  if (shown) terminal.out('\n')
  if (screen) writeResults(results, dryRun, terminal)
  return finish(results, flags, terminal)
}

interface ReplayPage {
  readonly answered: readonly ResultBody[]
  /** Those answered so far, and those that are left. */
  readonly total: number
}

async function* pagesOfIds(
  ids: readonly string[],
  ask: (body: object) => Promise<ReplayBody>,
): AsyncGenerator<ReplayPage> {
  let waiting = [...new Set(ids)]
  const total = waiting.length
  while (waiting.length > 0) {
    const asked = waiting.slice(0, REPLAYS)
    const { results } = await ask({ ids: asked })
    const left = results.filter(({ outcome }) => outcome === 'LEFT').map(({ id }) => id)
    waiting = [...left, ...waiting.slice(REPLAYS)]
    yield { answered: results.filter(({ outcome }) => outcome !== 'LEFT'), total }
  }
}

async function* pagesOfFilter(filter: object, ask: (body: object) => Promise<ReplayBody>): AsyncGenerator<ReplayPage> {
  let count = 0
  let cursor: string | null = null
  do {
    const page: ReplayBody = await ask({ filter, limit: REPLAYS, ...(cursor === null ? {} : { cursor }) })
    count += page.results.length
    cursor = page.nextCursor
    yield { answered: page.results, total: count + page.left }
  } while (cursor !== null)
}

function finish(results: readonly ResultBody[], { dryRun = false, json }: ReplayFlags, terminal: ApiTools['terminal']) {
  if (json) writeJson(terminal, { dryRun, results })
  const { paint, err } = terminal
  if (results.length === 0) err('no dead letter matches\n')
  else err(`${totalsOf(results, paint)}${dryRun ? '; nothing was changed' : ''}\n`)
  const has = (...outcomes: ResultBody['outcome'][]) => results.some(({ outcome }) => outcomes.includes(outcome))
  if (has('FAILED'))
    err(`${paint.faint('next:')} the same command again once what failed is back; it goes on with the rest\n`)
  else if (has('REFUSED')) {
    err(
      `${paint.faint('next:')} mend what is said, then the same command again; \`dead-letters show\` has all of one\n`,
    )
  }
  return has('FAILED', 'REFUSED', 'NOT_FOUND') ? EXIT_FAILED : EXIT_OK
}

function filterOf({ topic, code, source, key, since, until }: FilterFlags, { clock }: ApiTools) {
  const nowMs = clock.wallMs()
  return { topic, code, source, key, since: instantOf(since, nowMs), until: instantOf(until, nowMs) }
}

function usage(message: string, hint: string): BusbarError {
  return new BusbarError(message, { code: 'USAGE', hint })
}
