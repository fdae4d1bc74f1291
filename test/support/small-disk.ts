/** A disk that can really be full. */

import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished, test } from 'vitest'
import { tempDir } from './temp-dir.ts'

const isRoot = process.getuid?.() === 0
if (!isRoot) process.stderr.write('\nSKIPPED: a full disk needs root, to mount a small tmpfs\n')

/** A test that needs `smallDisk`. */
export const testWithSmallDisk = test.skipIf(!isRoot)

/** A disk of four mebibytes, gone when the test ends. */
export async function smallDisk(): Promise<string> {
  const dir = join(await tempDir(), 'small')
  mkdirSync(dir)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', dir])
  onTestFinished(() => void execFileSync('umount', ['-l', dir]))
  return dir
}

/** Fills the disk; what it returns makes room again. */
export function fillDisk(dir: string): () => void {
  try {
    execFileSync('dd', ['if=/dev/zero', `of=${dir}/other`, 'bs=4k'], { stdio: 'ignore' })
  } catch {
    // dd stops when the disk is full.
  }
  return () => void execFileSync('rm', [`${dir}/other`])
}
