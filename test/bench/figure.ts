/** What a benchmark measures and what it is held against. */

export interface Figure {
  readonly name: string
  readonly value: number
  readonly unit: string
  /** What it should reach on the machine that the aims were set on. */
  readonly aim?: { readonly atLeast: number } | { readonly atMost: number }
  /** How it came about, where the name does not say. */
  readonly note?: string
}

/** Benchmarks that share their preparation; each can run alone by its name. */
export interface Section {
  readonly name: string
  readonly title: string
  run(bench: Bench): Promise<readonly Figure[]>
}

/** What every section is given. */
export interface Bench {
  /** Compiled programs to measure; the sources when absent. */
  readonly edgeBinary?: string
  readonly cloudBinary?: string
  /** Where programs run from their sources leave CPU profiles when they stop; which costs some of their speed. */
  readonly profileDir?: string
  /** Shorter runs and smaller backlogs: shows that it works, and its figures mean little. */
  readonly quick: boolean
  /** A directory of the run's own, removed at the end. */
  readonly dir: string
  /** Says what is going on; not part of the result. */
  say(text: string): void
  /** Says that something could not be measured and why; shown again at the end. */
  skip(reason: string): void
}

/** Null when there is no aim. */
export function isMet({ value, aim }: Figure): boolean | null {
  if (aim === undefined) return null
  return 'atLeast' in aim ? value >= aim.atLeast : value <= aim.atMost
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2
}
