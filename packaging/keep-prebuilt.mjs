/**
 * Run by npm after every install, under whatever Node there is. A package that ships its native addon built says
 * `"gypfile": false`, but npm does not write that into package-lock.json, and an install from the lock would then
 * compile it, which fails on a machine without a compiler. This puts the word back.
 */

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '..')
const lockFile = join(root, 'package-lock.json')
const before = readFileSync(lockFile, 'utf8')
const lock = JSON.parse(before)
for (const [path, entry] of Object.entries(lock.packages)) {
  const manifest = join(root, path, 'package.json')
  if (path === '' || !existsSync(manifest)) continue
  if (JSON.parse(readFileSync(manifest, 'utf8')).gypfile === false) {
    entry.gypfile = false
    delete entry.hasInstallScript
  }
}
const after = `${JSON.stringify(lock, null, 2)}\n`
if (after !== before) writeFileSync(lockFile, after)
