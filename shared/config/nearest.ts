/** The known name that a misspelt one was probably meant to be. */

/**
 * The nearest of `known` to `name`, or null when none is near. Case, `-`, `_` and a forgotten section do not count as
 * differences.
 */
export function nearest(name: string, known: readonly string[]): string | null {
  let best: { name: string; distance: number } | null = null
  for (const candidate of known) {
    const distance = Math.min(
      editDistance(plain(name), plain(candidate)),
      // The right name in the wrong section is half a step further than a misspelling of one letter.
      editDistance(plain(lastPart(name)), plain(lastPart(candidate))) + 0.5,
    )
    if (best === null || distance < best.distance) best = { name: candidate, distance }
  }
  const tolerance = Math.max(1, plain(lastPart(name)).length / 3)
  return best !== null && best.distance <= tolerance ? best.name : null
}

function plain(name: string): string {
  return name.toLowerCase().replace(/[-_]/g, '')
}

function lastPart(name: string): string {
  return name.slice(name.lastIndexOf('.') + 1)
}

/** Levenshtein's distance: insertions, deletions and substitutions that turn `a` into `b`. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min(substitution, (previous[j] as number) + 1, (row[j - 1] as number) + 1))
    }
    previous = row
  }
  return previous[b.length] as number
}
