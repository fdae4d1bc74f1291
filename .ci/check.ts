/**
 * `npm run check`: everything that can be said about the sources without running them. Every step runs, whatever the
 * others find; the exit status is 1 when any found something. Names as arguments choose steps: `npm run check -- types`.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const root = new URL('..', import.meta.url).pathname
const bin = (name: string) => join(root, 'node_modules/.bin', name)
/** Tools whose launcher is a script run under Bun, because some want a newer Node than the one that is installed. */
const underBun = (name: string) => [bin('bun'), '--bun', bin(name)]

interface Step {
  readonly name: string
  run(): boolean
}

const steps: readonly Step[] = [
  {
    name: 'lint',
    run: () =>
      command(...underBun('biome'), 'check', '--config-path=.ci/biome-config.json', '--error-on-warnings', '.'),
  },
  { name: 'promises', run: () => command(...underBun('oxlint'), '-c', '.ci/oxlint.json', '--type-aware', '.') },
  { name: 'types', run: () => command(...underBun('tsc'), '--noEmit') },
  { name: 'unused', run: () => command(...underBun('knip'), '--config', '.ci/knip.json', '--no-progress') },
  { name: 'proto-lint', run: () => command(bin('buf'), 'lint', 'proto') },
  // The released image is the baseline, not the last commit: on a fresh clone those two are the same.
  { name: 'proto-breaking', run: () => command(bin('buf'), 'breaking', 'proto', '--against', 'proto/released.json') },
  { name: 'proto-generated', run: generatedIsCurrent },
]

/** True when generating from the .proto files gives what is committed; the schemas of topics beside it have a test. */
function generatedIsCurrent(): boolean {
  const dir = mkdtempSync(join(tmpdir(), 'busbar-proto-'))
  try {
    const generated = Bun.spawnSync([bin('buf'), 'generate', '-o', dir], {
      cwd: join(root, 'proto'),
      stderr: 'inherit',
    })
    return generated.success && command('diff', '-r', '-x', 'avro', 'proto/generated', join(dir, 'generated'))
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

function command(...argv: string[]): boolean {
  return Bun.spawnSync(argv, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] }).success
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !steps.some((step) => step.name === name))
if (unknown.length > 0) {
  process.stderr.write(`no step ${unknown.join(', ')}; there are ${steps.map((step) => step.name).join(', ')}\n`)
  process.exit(64)
}

const failed: string[] = []
for (const step of steps) {
  if (wanted.length > 0 && !wanted.includes(step.name)) continue
  const begun = performance.now()
  const ok = step.run()
  const seconds = ((performance.now() - begun) / 1000).toFixed(1)
  process.stdout.write(`${ok ? 'ok  ' : 'FAIL'} ${step.name} (${seconds} s)\n`)
  if (!ok) failed.push(step.name)
}
if (failed.length > 0) {
  process.stdout.write(`\ncheck failed: ${failed.join(', ')}\n`)
  process.exit(1)
}
