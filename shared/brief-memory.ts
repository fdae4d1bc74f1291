/**
 * What was looked up lately, by key, so that not everybody who asks goes to where it is kept: many who ask at once wait for one
 * answer, which is good for a while. Of bounded size: what was read first goes first.
 */

import { putLast } from './bounded.ts'
import type { Clock } from './clock.ts'

export interface BriefMemoryOptions<T> {
  /** Where it is kept. What it throws goes to those who wait, and is not remembered. */
  readonly read: (key: string) => Promise<T>
  /** How long an answer is good, milliseconds. */
  readonly keptMs: number
  readonly entriesMax: number
  /** Which answers are worth remembering. Default all. */
  readonly isKept?: (answer: T) => boolean
  readonly clock: Pick<Clock, 'monotonicMs'>
}

interface Entry<T> {
  readonly answer: Promise<T>
  readonly askedAtMs: number
}

export class BriefMemory<T> {
  private readonly options: BriefMemoryOptions<T>
  private readonly entries = new Map<string, Entry<T>>()

  constructor(options: BriefMemoryOptions<T>) {
    this.options = options
  }

  /** @throws what `read` throws. */
  async of(key: string): Promise<T> {
    const { read, keptMs, entriesMax, isKept = () => true, clock } = this.options
    const nowMs = clock.monotonicMs()
    const known = this.entries.get(key)
    if (known !== undefined && nowMs - known.askedAtMs < keptMs) return await known.answer
    const entry: Entry<T> = { answer: read(key), askedAtMs: nowMs }
    putLast(this.entries, key, entry, entriesMax)
    let keep = false
    try {
      const answer = await entry.answer
      keep = isKept(answer)
      return answer
    } finally {
      if (!keep && this.entries.get(key) === entry) this.entries.delete(key)
    }
  }

  /** What is being read at this moment may be older than what made the caller forget it: it is forgotten as well. */
  forget(key: string): void {
    this.entries.delete(key)
  }

  forgetAll(): void {
    this.entries.clear()
  }
}
