/** The Bun that goes into a binary, for another architecture fetched once from the npm registry. */

import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')

const PACKAGES = { 'linux-x64': '@oven/bun-linux-x64', 'linux-arm64': '@oven/bun-linux-aarch64' } as const

/** Undefined when the Bun that runs this is the one. Always of the same version, so that both behave alike. */
export async function bunExecutable(target: keyof typeof PACKAGES): Promise<string | undefined> {
  if (target === `${process.platform}-${process.arch}`) return undefined
  const dir = join(root, '.cache', `bun-${target}-${Bun.version}`)
  const executable = join(dir, 'package', 'bin', 'bun')
  if (existsSync(executable)) return executable
  const unfinished = `${dir}.tmp`
  rmSync(unfinished, { recursive: true, force: true })
  mkdirSync(unfinished, { recursive: true })
  const spec = `${PACKAGES[target]}@${Bun.version}`
  process.stdout.write(`fetching ${spec}\n`)
  run(['npm', 'pack', '--silent', '--pack-destination', unfinished, spec])
  const [archive] = new Bun.Glob('*.tgz').scanSync(unfinished)
  if (archive === undefined) throw new Error(`npm pack ${spec} left no archive`)
  run(['tar', '-xzf', join(unfinished, archive), '-C', unfinished])
  rmSync(join(unfinished, archive))
  renameSync(unfinished, dir)
  return executable
}

function run(command: string[]): void {
  const { success } = Bun.spawnSync(command, { stdio: ['ignore', 'ignore', 'inherit'], cwd: root })
  if (!success) throw new Error(`${command.join(' ')} failed`)
}
