/** Files that hold a secret and are there whole or not at all: written beside, made durable, then put in their place. */

import {
  closeSync,
  existsSync,
  fchownSync,
  fsyncSync,
  lchownSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'

export interface WholeFileOptions {
  /** False keeps a file that is there, and throws EEXIST. Default true. */
  readonly overwrite?: boolean
  /** Ends the name under which it is written first; one of their own for those who write at once. Default `tmp`. */
  readonly draft?: string
}

/**
 * Writes `text` to a file that only its owner may read, durable when it returns; a power cut leaves the old file or the new
 * one. Directories that are missing are made likewise. What root makes belongs to whom the file before it, or the directory,
 * belongs to, since root may only be here under sudo.
 * @throws what the system says.
 */
export function writeWhole(file: string, text: string, options: WholeFileOptions = {}): void {
  const { overwrite = true, draft = 'tmp' } = options
  const directory = resolve(dirname(file))
  makeDirectory(directory)
  const temporary = `${file}.${draft}`
  rmSync(temporary, { force: true })
  try {
    writeDraft(temporary, text, existsSync(file) ? file : directory)
    if (overwrite) renameSync(temporary, file)
    else linkSync(temporary, file)
  } catch (error) {
    // Half of a secret is of no use to anybody.
    rmSync(temporary, { force: true })
    throw error
  }
  if (!overwrite) rmSync(temporary, { force: true })
  // Without this the name itself may be lost in a power cut.
  syncDirectory(directory)
}

/** @param like what it is to belong to the owner of, where root makes it. */
function writeDraft(draft: string, text: string, like: string): void {
  const handle = openSync(draft, 'wx', 0o600)
  try {
    if (isRoot()) {
      const { uid, gid } = statSync(like)
      fchownSync(handle, uid, gid)
    }
    writeFileSync(handle, text)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

function makeDirectory(directory: string): void {
  const first = mkdirSync(directory, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  const above = dirname(first)
  const owner = isRoot() ? statSync(above) : null
  for (let made = directory; made !== above; made = dirname(made)) {
    // A link that somebody put in its place meanwhile is not followed.
    if (owner !== null) lchownSync(made, owner.uid, owner.gid)
    syncDirectory(dirname(made))
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0
}

function syncDirectory(directory: string): void {
  const handle = openSync(directory, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
