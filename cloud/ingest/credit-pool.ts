/**
 * Byte credits of all gateways out of one budget. A newcomer gets little; one that uses what it has gets up to its
 * window; when the budget is used up, what comes free goes round robin to those that wait. Every gateway keeps the
 * floor whatever the others do, so what is held at one time stays below
 * inflightBytesMax + gateways × max(floorBytes, one block).
 */

export interface CreditRules {
  /** Most that one gateway may have on the way. */
  readonly windowBytes: number
  /** What every gateway may have on the way, and begins with. */
  readonly floorBytes: number
  /** Most that all gateways together may have on the way, their floors aside. */
  readonly inflightBytesMax: number
}

/** Credit is given in turns of at most this many bytes while gateways compete for it. */
const TURN_BYTES = 256 * 1024
/** A grant smaller than this fraction of the target waits, so that credit does not trickle in a message each. */
const GRANT_FRACTION_MIN = 1 / 8

/** The credit of one gateway. */
export interface CreditAccount {
  /** Takes `bytes` that arrived; false when they exceed the credit, which no honest gateway does. */
  arrived(bytes: number): boolean
  /** `bytes` of what arrived are dealt with; credit for more follows by `grant` when there is room. */
  finished(bytes: number): void
  /** Gives everything back. */
  close(): void
  /** Bytes of credit that the gateway has. */
  readonly available: number
}

export class CreditPool {
  private readonly rules: CreditRules
  private readonly waiting = new Set<Account>()
  private reserved = 0

  constructor(rules: CreditRules) {
    this.rules = rules
  }

  /** Bytes that gateways hold as credit or have on the way. */
  get reservedBytes(): number {
    return this.reserved
  }

  /** Opens an account; the gateway begins with `available` bytes. @param grant tells the gateway of further credit. */
  open(grant: (bytes: number) => void): CreditAccount {
    return new Account(this, this.rules, grant)
  }

  /** @internal */
  reserve(bytes: number): void {
    this.reserved += bytes
  }

  /** @internal */
  wait(account: Account): void {
    this.waiting.add(account)
    this.share()
  }

  /** @internal */
  leave(account: Account): void {
    this.waiting.delete(account)
    this.share()
  }

  /** Round robin over those that wait: a Set keeps the order in which they came, and who is served goes to its end. */
  private share(): void {
    const granted = new Map<Account, number>()
    for (const account of this.waiting) {
      const floorBytes = account.belowFloor
      const room = Math.max(floorBytes, this.rules.inflightBytesMax - this.reserved)
      const bytes = Math.min(account.wanted, room, Math.max(TURN_BYTES, floorBytes))
      if (bytes <= 0) continue
      this.waiting.delete(account)
      account.take(bytes)
      granted.set(account, (granted.get(account) ?? 0) + bytes)
      if (account.wanted > 0) this.waiting.add(account)
    }
    for (const [account, bytes] of granted) account.grant(bytes)
  }
}

class Account implements CreditAccount {
  available: number
  readonly grant: (bytes: number) => void
  private readonly pool: CreditPool
  private readonly rules: CreditRules
  /** Arrived and not finished. */
  private held = 0
  private target: number
  private closed = false

  constructor(pool: CreditPool, rules: CreditRules, grant: (bytes: number) => void) {
    this.pool = pool
    this.rules = rules
    this.grant = grant
    this.target = rules.floorBytes
    this.available = rules.floorBytes
    pool.reserve(this.available)
  }

  /** What is missing to the target. */
  get wanted(): number {
    return this.target - this.reservation
  }

  /** What is missing to the floor. */
  get belowFloor(): number {
    return Math.max(0, this.rules.floorBytes - this.reservation)
  }

  arrived(bytes: number): boolean {
    // One item larger than the credit may come when nothing else is on the way.
    if (bytes > this.available && (this.held > 0 || this.available <= 0)) return false
    this.change(() => {
      this.available -= bytes
      this.held += bytes
    })
    return true
  }

  finished(bytes: number): void {
    if (this.closed) return
    // The window follows what the gateway uses: twice the credit it had for what came in one go, or a quarter less.
    const { floorBytes, windowBytes } = this.rules
    const grown = this.held * 2 >= this.target ? this.target * 2 : this.target * 0.75
    this.target = Math.min(windowBytes, Math.max(floorBytes, Math.floor(grown)))
    this.change(() => {
      this.held -= bytes
    })
    if (this.wanted >= this.target * GRANT_FRACTION_MIN) this.pool.wait(this)
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.pool.reserve(-this.reservation)
    this.pool.leave(this)
  }

  take(bytes: number): void {
    this.change(() => {
      this.available += bytes
    })
  }

  private get reservation(): number {
    return Math.max(0, this.available) + this.held
  }

  private change(apply: () => void): void {
    const before = this.reservation
    apply()
    if (!this.closed) this.pool.reserve(this.reservation - before)
  }
}
