/** Small files that hold secrets or rights, read again when they changed. */

import { readFileSync, statSync } from 'node:fs'
import type { Clock } from '../../shared/clock.ts'

/** How often a file is looked at, at most. */
export const LOOK_MS = 1000

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
