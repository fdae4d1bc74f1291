/** How deep a JSON value is: what is too deep can be parsed, and then not be written again, since that takes the stack. */

/** Whether `value` has more than `levelsMax` levels of arrays and objects. Without recursion, and no deeper than asked. */
export function isDeeper(value: unknown, levelsMax: number): boolean {
  let level: unknown[] = [value]
  for (let depth = 0; level.length > 0; depth++) {
    const containers = level.filter((each) => typeof each === 'object' && each !== null) as object[]
    if (containers.length > 0 && depth === levelsMax) return true
    level = containers.flatMap((each) => Object.values(each))
  }
  return false
}
