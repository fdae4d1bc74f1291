/** What takes long to make is made once on this machine and shared by every test run, also by those that begin at one time. */

import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** A lock that is older was left behind by a run that was killed. */
const LOCK_AGE_MAX_MS = 5 * 60_000
const LOOK_AGAIN_MS = 200

/** Runs `make` unless the file `mark` is there; `make` has to leave it behind, last. */
export async function madeOnce(mark: string, make: () => Promise<void>, lock = `${mark}.lock`): Promise<void> {
  mkdirSync(dirname(lock), { recursive: true })
  while (!existsSync(mark)) {
    if (!take(lock)) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS))
      continue
    }
    try {
      // Whoever had the lock before may have made it.
      if (!existsSync(mark)) await make()
    } finally {
      rmSync(lock, { force: true })
    }
  }
}

function take(lock: string): boolean {
  try {
    writeFileSync(lock, String(process.pid), { flag: 'wx' })
    return true
  } catch {
    if (existsSync(lock) && Date.now() - statSync(lock).mtimeMs > LOCK_AGE_MAX_MS) rmSync(lock, { force: true })
    return false
  }
}
