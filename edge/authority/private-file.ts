/** Small files that hold secrets or rights: written whole, by rename, for their owner alone; read again when they changed. */

import {
  closeSync,
  existsSync,
  fchownSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import type { Clock } from '../../shared/clock.ts'

/** How often a file is looked at, at most. */
export const LOOK_MS = 1000

/**
 * Writes the whole file, mode 0600, durable when it returns. Under sudo it stays readable to the user that runs the service:
 * it belongs to whom the file before it, or its directory, belongs to.
 * @param overwrite false keeps a file that is there, and throws EEXIST.
 * @throws what the system says
 */
export function writePrivateFile(file: string, text: string, overwrite = true): void {
  const temporary = `${file}.tmp`
  makeDirectory(dirname(file))
  rmSync(temporary, { force: true })
  const handle = openSync(temporary, 'wx', 0o600)
  try {
    if (process.getuid?.() === 0) {
      const { uid, gid } = statSync(existsSync(file) ? file : dirname(file))
      fchownSync(handle, uid, gid)
    }
    writeSync(handle, text)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
  if (overwrite) {
    renameSync(temporary, file)
  } else {
    try {
      linkSync(temporary, file)
    } finally {
      rmSync(temporary, { force: true })
    }
  }
  // Without this the name itself may be lost in a power cut.
  const directory = openSync(dirname(file), 'r')
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}

/** Makes what is missing of a path; under sudo it belongs to the owner of what was there. */
function makeDirectory(dir: string): void {
  const first = mkdirSync(dir, { recursive: true })
  if (first === undefined || process.getuid?.() !== 0) return
  const { uid, gid } = statSync(dirname(first))
  for (let made = dir; made.length >= first.length; made = dirname(made)) {
    const handle = openSync(made, 'r')
    try {
      fchownSync(handle, uid, gid)
    } finally {
      closeSync(handle)
    }
  }
}

/** The text of a file; null when there is none. */
export function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

/**
 * A file kept in memory and read again when its time or size changed, looked at once a second at most. What was read before
 * stays in force while the file cannot be read.
 */
export class WatchedFile<T> {
  private readonly file: string
  private readonly clock: Clock
  private readonly read: (file: string) => T
  private value: T | null = null
  private version = ''
  private reads = 0
  private lookedMs = Number.NEGATIVE_INFINITY

  /** @param read the content of the file, also when it is missing. */
  constructor(file: string, clock: Clock, read: (file: string) => T) {
    this.file = file
    this.clock = clock
    this.read = read
  }

  /** Grows with each time the file was read, whoever asked for it. */
  get generation(): number {
    return this.reads
  }

  /** @throws whatever `read` throws, the first time after the file changed; the next call has what was there before. */
  current(): T {
    if (this.value === null || this.clock.monotonicMs() - this.lookedMs >= LOOK_MS) this.reload()
    return this.value as T
  }

  /** Looks at the file now; true when it had changed and was read. */
  reload(): boolean {
    this.lookedMs = this.clock.monotonicMs()
    const version = versionOf(this.file)
    if (version === this.version) return false
    this.value = this.read(this.file)
    this.version = version
    this.reads++
    return true
  }
}

function versionOf(file: string): string {
  try {
    const { mtimeMs, size, ino } = statSync(file)
    return `${mtimeMs}/${size}/${ino}`
  } catch (error) {
    // One that cannot be looked at is for `read` to complain about.
    return isMissing(error) ? 'missing' : 'unknown'
  }
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
