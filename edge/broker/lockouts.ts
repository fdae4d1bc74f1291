/**
 * Who failed to log in too often lately. Failures leak away; at a number of them the key is locked for a time, which doubles
 * with each lockout that follows. Pure: the time is an argument.
 */

/** In this time a full measure of failures leaks away, and a lockout is forgotten, milliseconds. */
const MEMORY_MS = 600_000

export interface LockoutLimits {
  /** Failures at which a key is locked. */
  readonly failuresMax: number
  readonly lockoutMs: number
  readonly lockoutMaxMs: number
  /** Keys remembered; beyond it the one that failed longest ago is forgotten. */
  readonly keysMax: number
}

interface Failures {
  count: number
  atMs: number
  lockedUntilMs: number
  /** Length of the next lockout. */
  nextMs: number
}

export class Lockouts {
  private readonly limits: LockoutLimits
  /** Those that failed last stand last. */
  private readonly keys = new Map<string, Failures>()

  constructor(limits: LockoutLimits) {
    this.limits = limits
  }

  get size(): number {
    return this.keys.size
  }

  isLocked(key: string, nowMs: number): boolean {
    const failures = this.keys.get(key)
    return failures !== undefined && nowMs < failures.lockedUntilMs
  }

  /** Notes a failure; true when it begins a lockout. */
  failed(key: string, nowMs: number): boolean {
    const { failuresMax, lockoutMs, lockoutMaxMs } = this.limits
    const known = this.keys.get(key)
    const failures = known ?? { count: 0, atMs: nowMs, lockedUntilMs: Number.NEGATIVE_INFINITY, nextMs: lockoutMs }
    if (nowMs - failures.lockedUntilMs > MEMORY_MS + failures.nextMs) failures.nextMs = lockoutMs
    failures.count = Math.max(0, failures.count - ((nowMs - failures.atMs) * failuresMax) / MEMORY_MS) + 1
    failures.atMs = nowMs
    this.keys.delete(key)
    if (known === undefined) this.makeRoom()
    this.keys.set(key, failures)
    if (failures.count < failuresMax - 1e-3) return false
    failures.count = 0
    failures.lockedUntilMs = nowMs + failures.nextMs
    failures.nextMs = Math.min(lockoutMaxMs, failures.nextMs * 2)
    return true
  }

  /** The login of `key` was good. */
  succeeded(key: string): void {
    this.keys.delete(key)
  }

  clear(): void {
    this.keys.clear()
  }

  private makeRoom(): void {
    if (this.keys.size < this.limits.keysMax) return
    const [oldest] = this.keys.keys()
    if (oldest !== undefined) this.keys.delete(oldest)
  }
}
