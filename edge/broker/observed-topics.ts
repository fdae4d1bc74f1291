/**
 * Whether anyone on site wants a topic, asked for every publish: live subscriptions and those of absent durable sessions,
 * counted by filter. `version` changes whenever an answer may have.
 */

export class ObservedTopics {
  version = 0
  private readonly exact = new Map<string, number>()
  private readonly wildcard = new Map<string, number>()

  add(filter: string): void {
    if (!concernsPublishes(filter)) return
    const counts = this.countsFor(filter)
    const count = counts.get(filter) ?? 0
    counts.set(filter, count + 1)
    if (count === 0) this.version++
  }

  remove(filter: string): void {
    const counts = this.countsFor(filter)
    const count = counts.get(filter)
    if (count === undefined) return
    if (count > 1) {
      counts.set(filter, count - 1)
    } else {
      counts.delete(filter)
      this.version++
    }
  }

  matches(topic: string): boolean {
    if (this.exact.has(topic)) return true
    for (const filter of this.wildcard.keys()) if (filterMatches(filter, topic)) return true
    return false
  }

  private countsFor(filter: string): Map<string, number> {
    return filter.includes('+') || filter.includes('#') ? this.wildcard : this.exact
  }
}

/** Matching of [MQTT-4.7]; topics that begin with `$` are not asked about here. */
export function filterMatches(filter: string, topic: string): boolean {
  const wanted = filter.split('/')
  const levels = topic.split('/')
  for (let i = 0; i < wanted.length; i++) {
    if (wanted[i] === '#') return true
    // `a/#` matches `a` as well [MQTT-4.7.1-2].
    if (i >= levels.length) return false
    if (wanted[i] !== '+' && wanted[i] !== levels[i]) return false
    if (i === levels.length - 1 && i === wanted.length - 2 && wanted[i + 1] === '#') return true
  }
  return wanted.length === levels.length
}

/** Every device subscribes to its own commands, which no device publishes; the engine's own topics begin with `$`. */
function concernsPublishes(filter: string): boolean {
  return !filter.startsWith('$') && !filter.endsWith('/commands')
}
