/** Moving a damaged SQLite file out of the way, so that what is in it is not what keeps the gateway from working. */

import { existsSync, renameSync } from 'node:fs'
import { basename } from 'node:path'

/** Renames the file and its companions, over those set aside before; returns the new name without its directory. */
export function setDamagedAside(path: string): string {
  for (const suffix of ['', '-wal', '-shm']) {
    if (existsSync(path + suffix)) renameSync(path + suffix, `${path}${suffix}.damaged`)
  }
  return `${basename(path)}.damaged`
}
