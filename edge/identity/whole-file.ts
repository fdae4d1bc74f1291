/** Files that hold a secret and are there whole or not at all: written beside, made durable, then renamed. */

import {
  closeSync,
  existsSync,
  fchownSync,
  fsyncSync,
  lchownSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'

/**
 * Writes `text` to a file that only its owner may read; its directory is made likewise. A power cut leaves the old file or
 * the new one. What root makes belongs to whoever owns the directory above, since root may only be here under sudo.
 * @throws what the system says.
 */
export function writeWhole(file: string, text: string): void {
  const directory = dirname(file)
  const owner = ownerOf(dirname(directory))
  if (!existsSync(directory)) {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    // A link that somebody put in its place meanwhile is not followed.
    if (owner !== null) lchownSync(directory, owner.uid, owner.gid)
    syncDirectory(dirname(directory))
  }
  const temporary = `${file}.tmp`
  rmSync(temporary, { force: true })
  const handle = openSync(temporary, 'wx', 0o600)
  try {
    if (owner !== null) fchownSync(handle, owner.uid, owner.gid)
    writeFileSync(handle, text)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
  renameSync(temporary, file)
  // Without this the rename itself may be lost in a power cut.
  syncDirectory(directory)
}

/** Who is to own what root makes; null for everybody else, who owns it anyway. */
function ownerOf(directory: string): { readonly uid: number; readonly gid: number } | null {
  if (process.getuid?.() !== 0 || !existsSync(directory)) return null
  return statSync(directory)
}

function syncDirectory(directory: string): void {
  const handle = openSync(directory, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
