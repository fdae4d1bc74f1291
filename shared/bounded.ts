/** Memory of bounded size: what was put in first goes first. */

/** Forgets the first of what is remembered when there is more than `max`. To be called after each that is added. */
export function forgetOldest<K>(remembered: Map<K, unknown> | Set<K>, max: number): void {
  if (remembered.size <= max) return
  for (const oldest of remembered.keys()) {
    remembered.delete(oldest)
    return
  }
}

/** Puts it behind all others, also when it was there before. */
export function putLast<K, V>(remembered: Map<K, V>, key: K, value: V, max: number): void {
  remembered.delete(key)
  remembered.set(key, value)
  forgetOldest(remembered, max)
}
