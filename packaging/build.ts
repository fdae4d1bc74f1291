/**
 * `npm run build [-- --app edge|cloud] [--target linux-x64|linux-arm64]`: the programs as single files in dist/ that need
 * nothing else on the machine. Without arguments all of them.
 */

import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type BunPlugin, Glob } from 'bun'
import { bunExecutable } from './bun-executable.ts'

const root = join(import.meta.dirname, '..')

const APPS = ['edge', 'cloud'] as const
const TARGETS = ['linux-x64', 'linux-arm64'] as const
type App = (typeof APPS)[number]
type Target = (typeof TARGETS)[number]

/** Its plain entry reads WebAssembly from a file beside itself, which a binary does not have. */
const bundledWasm: BunPlugin = {
  name: 'bundled-wasm',
  setup(build) {
    build.onResolve({ filter: /^@platformatic\/wasm-utils$/ }, ({ importer }) => ({
      path: Bun.resolveSync('@platformatic/wasm-utils/bundled', importer),
    }))
  },
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { app: { type: 'string' }, target: { type: 'string' } } })
  const apps = chosen('app', values.app, APPS)
  const targets = chosen('target', values.target, TARGETS)
  mkdirSync(join(root, 'dist'), { recursive: true })
  for (const target of targets) {
    const executablePath = await bunExecutable(target)
    for (const app of apps) await buildApp(app, target, executablePath)
  }
}

function chosen<T extends string>(option: string, value: string | undefined, all: readonly T[]): readonly T[] {
  if (value === undefined) return all
  const one = all.find((each) => each === value)
  if (one !== undefined) return [one]
  process.stderr.write(`--${option} is ${value}, must be one of ${all.join(', ')}\n`)
  process.exit(64)
}

async function buildApp(app: App, target: Target, executablePath: string | undefined): Promise<void> {
  const begun = performance.now()
  const name = `busbar-${app}-${target}`
  const outfile = join(root, 'dist', name)
  // The source maps that are written beside a binary are inside it too.
  const workDir = mkdtempSync(join(root, 'dist', `${name}-`))
  const result = await Bun.build({
    root,
    // The program first; workers are entry points of their own, found by their path below the root.
    entrypoints: [`${app}/main.ts`, ...workersOf(app)].map((path) => join(root, path)),
    // Renaming identifiers as well would break Elysia, which reads the source of its handlers.
    minify: { whitespace: true, syntax: true, identifiers: false },
    sourcemap: 'linked',
    plugins: [bundledWasm],
    compile: {
      target: `bun-${target}`,
      outfile: join(workDir, name),
      ...(executablePath === undefined ? {} : { executablePath }),
      // A file that happens to lie in the working directory must not change what a server does.
      autoloadDotenv: false,
      autoloadBunfig: false,
    },
  })
  for (const message of result.logs) process.stderr.write(`${message}\n`)
  // A binary that runs keeps its old file: replacing by rename never fails with "text file busy".
  renameSync(join(workDir, name), outfile)
  rmSync(workDir, { recursive: true })
  const mebibytes = (statSync(outfile).size / 2 ** 20).toFixed(0)
  process.stdout.write(`${outfile} (${mebibytes} MiB, ${((performance.now() - begun) / 1000).toFixed(1)} s)\n`)
}

/** Entry modules of the worker threads of an app: what its sources pass to workerUrl. */
function workersOf(app: App): string[] {
  const workers = new Set<string>()
  for (const file of new Glob(`${app}/**/*.ts`).scanSync(root)) {
    for (const [, path] of readFileSync(join(root, file), 'utf8').matchAll(/\bworkerUrl\(\s*'([^']+)'\s*\)/g)) {
      workers.add(path as string)
    }
  }
  return [...workers].sort()
}

await main()
