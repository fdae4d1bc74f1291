/** What an alert rule compares, pure: whether a value meets its condition, whether it is far enough back, how bad it is. */

export const COMPARISONS = ['GT', 'GTE', 'LT', 'LTE', 'EQ', 'NE', 'OUTSIDE', 'INSIDE'] as const
export type Comparison = (typeof COMPARISONS)[number]

export interface Condition {
  /** Name of a reading; `a.b` is the member `b` of the object `a`, unless a reading has that very name. */
  readonly field: string
  readonly comparison: Comparison
  /** Null for a comparison with a range. */
  readonly threshold: number | null
  /** Ends of the range, which belong to it; null for a comparison with a threshold. */
  readonly low: number | null
  readonly high: number | null
  /** How long it must be met before an alert opens, by event time. */
  readonly durationSeconds: number
  /** How far beyond the threshold, or the end of the range, a value must be back before the alert closes. */
  readonly hysteresis: number
}

export function hasRange(comparison: Comparison): boolean {
  return comparison === 'OUTSIDE' || comparison === 'INSIDE'
}

/** The number that the condition is about; null when the reading has none. */
export function fieldValue(fields: Readonly<Record<string, unknown>>, field: string): number | null {
  const direct = Object.hasOwn(fields, field) ? fields[field] : undefined
  const value = direct === undefined && field.includes('.') ? nestedValue(fields, field) : direct
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}

function nestedValue(fields: unknown, path: string): unknown {
  let value = fields
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    value = (value as Record<string, unknown>)[name]
  }
  return value
}

export function isMet(condition: Condition, value: number): boolean {
  const [low, high] = bounds(condition)
  switch (condition.comparison) {
    case 'GT':
      return value > low
    case 'GTE':
      return value >= low
    case 'LT':
      return value < low
    case 'LTE':
      return value <= low
    case 'EQ':
      return value === low
    case 'NE':
      return value !== low
    case 'OUTSIDE':
      return value < low || value > high
    case 'INSIDE':
      return value >= low && value <= high
  }
}

/** Whether an open alert closes: the condition is not met any more, by as much as the hysteresis asks for. */
export function isBack(condition: Condition, value: number): boolean {
  if (isMet(condition, value)) return false
  const { hysteresis } = condition
  const [low, high] = bounds(condition)
  // Compared with the bound moved by the hysteresis, not the distance with it: people expect 79.9 to be 0.1 below 80.
  switch (condition.comparison) {
    case 'GT':
    case 'GTE':
      return value <= low - hysteresis
    case 'LT':
    case 'LTE':
      return value >= low + hysteresis
    case 'EQ':
    case 'INSIDE':
      return value <= low - hysteresis || value >= high + hysteresis
    case 'NE':
      return true
    case 'OUTSIDE':
      return value >= low + hysteresis && value <= high - hysteresis
  }
}

/** Whether `value` is worse than `than`: farther beyond what is allowed. */
export function isWorse(condition: Condition, value: number, than: number): boolean {
  return excess(condition, value) > excess(condition, than)
}

function excess(condition: Condition, value: number): number {
  const [low, high] = bounds(condition)
  switch (condition.comparison) {
    case 'GT':
    case 'GTE':
      return value - low
    case 'LT':
    case 'LTE':
      return low - value
    case 'EQ':
      return -Math.abs(value - low)
    case 'NE':
      return Math.abs(value - low)
    case 'OUTSIDE':
      return Math.max(low - value, value - high)
    case 'INSIDE':
      return Math.min(value - low, high - value)
  }
}

/** The condition after "is", for people: `above 80`. */
export function describeCondition(condition: Condition): string {
  const [low, high] = bounds(condition)
  switch (condition.comparison) {
    case 'GT':
      return `above ${low}`
    case 'GTE':
      return `${low} or above`
    case 'LT':
      return `below ${low}`
    case 'LTE':
      return `${low} or below`
    case 'EQ':
      return `equal to ${low}`
    case 'NE':
      return `other than ${low}`
    case 'OUTSIDE':
      return `outside ${low} to ${high}`
    case 'INSIDE':
      return `within ${low} to ${high}`
  }
}

function bounds({ threshold, low, high }: Condition): readonly [number, number] {
  return threshold === null ? [low ?? Number.NaN, high ?? Number.NaN] : [threshold, threshold]
}
