/**
 * `npm run bench`: what the chain does on this machine, beside its aims. Names as arguments run those sections only
 * (`npm run bench -- durable-rate memory`); --list names them; --json prints figures for programs; --binary measures
 * the compiled programs in dist/; --profile leaves CPU profiles in .cache/profiles; --quick only shows that everything
 * runs.
 */

import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { EXIT_FAILED, EXIT_OK, EXIT_USAGE } from '../../shared/cli/exit-status.ts'
import { processTerminal } from '../../shared/cli/terminal.ts'
import { messageOf } from '../../shared/errors.ts'
import { projectDir } from '../support/child.ts'
import { activity } from './activity.ts'
import { analytics } from './analytics.ts'
import { bytes } from './bytes.ts'
import { chat } from './chat.ts'
import { drain } from './drain.ts'
import { durableRate } from './durable-rate.ts'
import { endToEnd } from './end-to-end.ts'
import { type Bench, type Figure, isMet, type Section } from './figure.ts'
import { latency } from './latency.ts'
import { memory } from './memory.ts'
import { queries } from './queries.ts'
import { formatFigures } from './report.ts'
import { startTime } from './start-time.ts'
import { tasks } from './tasks.ts'

const SECTIONS: readonly Section[] = [
  durableRate,
  endToEnd,
  latency,
  drain,
  bytes,
  memory,
  startTime,
  tasks,
  analytics,
  queries,
  chat,
  activity,
]

/** Load average of the last minute above which something else is running. */
const BUSY_LOAD = 1

interface SectionResult {
  readonly section: string
  readonly title: string
  readonly figures: readonly Figure[]
  /** Why it broke off; null when it did not. */
  readonly error: string | null
}

async function main(args: readonly string[]): Promise<number> {
  const terminal = processTerminal(process.env)
  const { paint } = terminal
  const flags = new Set(args.filter((arg) => arg.startsWith('--')))
  const names = args.filter((arg) => !arg.startsWith('--'))
  if (flags.has('--list')) {
    for (const { name, title } of SECTIONS) terminal.out(`${name.padEnd(14)}${title}\n`)
    return EXIT_OK
  }
  const wrong = [
    ...[...flags].filter((flag) => !['--json', '--binary', '--profile', '--quick'].includes(flag)),
    ...names.filter((name) => !SECTIONS.some((section) => section.name === name)),
  ]
  if (wrong.length > 0) {
    terminal.err(`no ${wrong.join(', ')}; sections are ${SECTIONS.map(({ name }) => name).join(', ')};`)
    terminal.err(' flags --list, --json, --binary, --profile, --quick\n')
    return EXIT_USAGE
  }

  const dir = mkdtempSync(join(tmpdir(), 'busbar-bench-'))
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      rmSync(dir, { recursive: true, force: true })
      // Ends the children too, see test/support/child.ts.
      process.exit(EXIT_FAILED)
    })
  }
  const skipped: string[] = []
  const bench: Bench = {
    ...(flags.has('--binary') ? binaries() : {}),
    ...(flags.has('--profile') ? { profileDir: join(projectDir, '.cache', 'profiles') } : {}),
    quick: flags.has('--quick'),
    dir,
    say: (text) => terminal.err(`${paint.faint(`  … ${text}`)}\n`),
    skip: (reason) => {
      skipped.push(reason)
      terminal.err(`${paint.bad(`SKIPPED ${reason}`)}\n`)
    },
  }
  const json = flags.has('--json')
  if (!json) terminal.out(`${machine()}${bench.quick ? '; quick: the figures mean little' : ''}\n`)
  const [load = 0] = loadavg()
  if (load > BUSY_LOAD) {
    terminal.err(`${paint.bad(`the machine is busy (load ${load.toFixed(1)}): these figures are not worth keeping`)}\n`)
  }
  const results: SectionResult[] = []
  try {
    for (const section of SECTIONS) {
      if (names.length > 0 && !names.includes(section.name)) continue
      terminal.err(`\n${section.title}\n`)
      const result = await runSection(section, bench)
      results.push(result)
      if (!json) terminal.out(`\n${section.name}: ${section.title}\n${formatFigures(result.figures, paint)}`)
      if (result.error !== null) terminal.err(`${paint.bad(`${section.name} broke off: ${result.error}`)}\n`)
    }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
  if (json)
    terminal.out(
      `${JSON.stringify({ machine: machine(), loadAtStart: load, quick: bench.quick, skipped, results }, null, 2)}\n`,
    )
  else summarise(results, skipped, terminal.out, paint)
  return results.some((result) => result.error !== null) ? EXIT_FAILED : EXIT_OK
}

async function runSection({ name, title, run }: Section, bench: Bench): Promise<SectionResult> {
  try {
    return { section: name, title, figures: await run(bench), error: null }
  } catch (error) {
    return { section: name, title, figures: [], error: messageOf(error) }
  }
}

function summarise(
  results: readonly SectionResult[],
  skipped: readonly string[],
  out: (text: string) => void,
  paint: ReturnType<typeof processTerminal>['paint'],
): void {
  const aimed = results.flatMap(({ section, figures }) =>
    figures.filter((figure) => isMet(figure) !== null).map((figure) => ({ section, figure })),
  )
  const missed = aimed.filter(({ figure }) => isMet(figure) === false)
  out(`\n${aimed.length - missed.length} of ${aimed.length} aims met\n`)
  for (const { section, figure } of missed) out(`  ${paint.bad('not met')}  ${section}: ${figure.name}\n`)
  for (const reason of skipped) out(`  ${paint.bad('SKIPPED')}  ${reason}\n`)
}

/** The compiled programs of this machine, as `npm run build` leaves them. */
function binaries(): Pick<Bench, 'edgeBinary' | 'cloudBinary'> {
  const platform = `linux-${process.arch}`
  const path = (name: string): string => {
    const file = join(projectDir, 'dist', `${name}-${platform}`)
    if (!existsSync(file)) throw new Error(`${file} does not exist: run npm run build first`)
    return file
  }
  return { edgeBinary: path('busbar-edge'), cloudBinary: path('busbar-cloud') }
}

function machine(): string {
  const [first] = cpus()
  return `${cpus().length} × ${first?.model ?? 'unknown CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, Bun ${Bun.version}`
}

process.exit(await main(process.argv.slice(2)))
