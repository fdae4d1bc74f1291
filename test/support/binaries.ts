/** The compiled programs, built afresh once for a test run, and a way to run them with no packages in reach. */

import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bunPath, projectDir, startChild } from './child.ts'

export interface Binaries {
  readonly edge: string
  readonly cloud: string
  /** Removes the copies. */
  remove(): Promise<void>
}

/** Builds for this machine and copies the binaries away from the project. */
export async function buildBinaries(): Promise<Binaries> {
  const target = process.arch === 'arm64' ? 'linux-arm64' : 'linux-x64'
  const build = startChild({ command: [bunPath, 'packaging/build.ts', '--target', target] })
  const { code } = await build.exited
  if (code !== 0) throw new Error(`the build failed:\n${build.output()}`)
  const dir = await mkdtemp(join(tmpdir(), 'busbar-binaries-'))
  const [edge, cloud] = ['busbar-edge', 'busbar-cloud'].map((name) => join(dir, name)) as [string, string]
  await copyFile(join(projectDir, 'dist', `busbar-edge-${target}`), edge)
  await copyFile(join(projectDir, 'dist', `busbar-cloud-${target}`), cloud)
  return { edge, cloud, remove: () => rm(dir, { recursive: true, force: true }) }
}

/**
 * Put before a binary: an empty file system is mounted over node_modules for this process alone, so that a path into it
 * which the build left behind is found out. Needs root; without it the copies away from the project must do.
 */
export const withoutNodeModules: readonly string[] =
  process.getuid?.() === 0
    ? ['unshare', '--mount', 'sh', '-c', `mount -t tmpfs none ${join(projectDir, 'node_modules')} && exec "$@"`, 'sh']
    : []
