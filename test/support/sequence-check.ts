/** Publishers that number their records, and the account of what came out at the other end. */

import type { Bus, ConsumedRecord } from '../../cloud/bus/bus.ts'
import { BusbarError } from '../../shared/errors.ts'

/** Keeps the load at a few thousand records a second, so that reading it back takes no longer than the test. */
const PAUSE_MS = 20

export interface NumberedLoad {
  /** Per key, the highest number whose publish was confirmed. */
  readonly confirmed: ReadonlyMap<string, number>
  /** Publishes that were rejected as retryable and published again. */
  readonly republished: number
  /** Ends the load; resolves when every publish is confirmed. */
  stop(): Promise<void>
}

/** Publishes numbered records under `keys` keys, each key one batch after the other with a short pause in between. */
export function startNumberedLoad(bus: Bus, topic: string, options: { keys: number; batch: number }): NumberedLoad {
  const confirmed = new Map<string, number>()
  let running = true
  let republished = 0
  const publisher = async (key: string): Promise<void> => {
    for (let next = 0; running; next += options.batch) {
      const records = Array.from({ length: options.batch }, (_, i) => ({ key, value: String(next + i) }))
      for (;;) {
        try {
          await bus.publish(topic, records)
          break
        } catch (error) {
          if (!(error instanceof BusbarError) || !error.retryable) throw error
          if (error.code === 'BUS_STOPPED') return
          republished++
        }
      }
      confirmed.set(key, next + options.batch - 1)
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
  }
  const publishers = Array.from({ length: options.keys }, (_, i) => publisher(`INV-${i}`))
  return {
    confirmed,
    get republished() {
      return republished
    },
    stop: async () => {
      running = false
      await Promise.all(publishers)
    },
  }
}

export interface Account {
  /** Confirmed and not there. */
  readonly lost: number
  /** There more than once, whether delivered or stored twice. */
  readonly duplicated: number
  /** First occurrences that came after a higher number of their key. */
  readonly reordered: number
}

export function accountFor(records: readonly ConsumedRecord[], confirmed: ReadonlyMap<string, number>): Account {
  const seen = new Map<string, Set<number>>()
  const highest = new Map<string, number>()
  let duplicated = 0
  let reordered = 0
  for (const record of records) {
    const key = record.key ?? ''
    const number = Number(record.value.toString())
    const numbers = seen.get(key) ?? new Set<number>()
    seen.set(key, numbers)
    if (numbers.has(number)) {
      duplicated++
      continue
    }
    numbers.add(number)
    if (number < (highest.get(key) ?? -1)) reordered++
    highest.set(key, Math.max(number, highest.get(key) ?? -1))
  }
  let lost = 0
  for (const [key, last] of confirmed) {
    for (let number = 0; number <= last; number++) if (!seen.get(key)?.has(number)) lost++
  }
  return { lost, duplicated, reordered }
}
