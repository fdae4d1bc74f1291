/**
 * Passwords: what one may be, and its argon2id hash. A check costs memory and time on purpose, so only so many run at one time,
 * and one of a user who does not exist costs as much as any other.
 */

import { BusbarError } from '../../shared/errors.ts'
import { InvalidRegistrationError } from '../registry/errors.ts'
import { IdentityError } from './errors.ts'

export interface PasswordSettings {
  /** Characters. */
  readonly passwordLengthMin: number
  readonly passwordMemoryKiB: number
  /** At one time; further ones wait. */
  readonly passwordChecksMax: number
}

/** Long enough for every sentence; hashing costs time for each byte. */
const BYTES_MAX = 1_024
/** Passes over the memory: OWASP's choice for 19 MiB. */
const TIME_COST = 2
/** Checks that wait, for each that runs; beyond it they are refused. */
const WAITING_PER_CHECK = 10
const RETRY_AFTER_SECONDS = 1

export class Passwords {
  private readonly settings: PasswordSettings
  private running = 0
  private readonly waiting: (() => void)[] = []
  /** Of a password that nobody has. */
  private nobodys: Promise<string> | null = null

  constructor(settings: PasswordSettings) {
    this.settings = settings
  }

  /**
   * @param userId whose it is to be: it must not be the password.
   * @throws InvalidRegistrationError, which does not repeat the password.
   */
  checkNew(password: string, userId: string): void {
    const { passwordLengthMin } = this.settings
    const plain = normalized(password)
    const reasons: string[] = []
    if ([...plain].length < passwordLengthMin) reasons.push(`of ${passwordLengthMin} characters or more`)
    if (Buffer.byteLength(plain) > BYTES_MAX) reasons.push(`of ${BYTES_MAX} bytes or less`)
    if (!password.isWellFormed() || plain.includes('\0')) reasons.push('well-formed text')
    if (plain.toLowerCase() === userId.toLowerCase()) reasons.push('something else than the user id')
    if (new Set(plain).size === 1) reasons.push('more than one character repeated')
    if (reasons.length === 0) return
    throw new InvalidRegistrationError([{ field: 'password', value: '(hidden)', remedy: reasons.join(', ') }])
  }

  /** In PHC form. @throws IdentityError TOO_MANY_REQUESTS */
  async hash(password: string): Promise<string> {
    return await this.within(() => this.hashNow(normalized(password)))
  }

  /**
   * @param hash null for a user who does not exist or has no password: takes as long, and is false.
   * @throws IdentityError TOO_MANY_REQUESTS when too many wait already.
   */
  async verify(password: string, hash: string | null): Promise<boolean> {
    return await this.within(async () => {
      const nobodys = await this.nobodysHash()
      const plain = normalized(password)
      if (Buffer.byteLength(plain) > BYTES_MAX) return false
      const matches = await Bun.password.verify(plain, hash ?? nobodys, 'argon2id')
      return matches && hash !== null
    })
  }

  /** True when the hash was made with other settings than those of now. */
  isOutdated(hash: string): boolean {
    return !hash.startsWith(`$argon2id$v=19$m=${this.settings.passwordMemoryKiB},t=${TIME_COST},p=1$`)
  }

  /** Made by whoever comes first, so that the time of an answer does not tell who exists. */
  private async nobodysHash(): Promise<string> {
    this.nobodys ??= this.hashNow('nobody has this password').catch((error: unknown) => {
      this.nobodys = null
      throw error
    })
    return await this.nobodys
  }

  private async hashNow(plain: string): Promise<string> {
    const memoryCost = this.settings.passwordMemoryKiB
    return await Bun.password.hash(plain, { algorithm: 'argon2id', memoryCost, timeCost: TIME_COST })
  }

  private async within<T>(work: () => Promise<T>): Promise<T> {
    const { passwordChecksMax } = this.settings
    if (this.running >= passwordChecksMax) {
      if (this.waiting.length >= WAITING_PER_CHECK * passwordChecksMax) throw tooMany()
      // Whoever is done hands its place over.
      await new Promise<void>((resolve) => void this.waiting.push(resolve))
    } else this.running++
    try {
      return await work()
    } catch (cause) {
      // The message of a failed hash could hold anything.
      throw new BusbarError('a password could not be checked', {
        code: 'PASSWORD_CHECK_FAILED',
        retryable: true,
        cause,
      })
    } finally {
      const next = this.waiting.shift()
      if (next === undefined) this.running--
      else next()
    }
  }
}

/** The same letters typed on two systems are the same bytes (RFC 8265). */
function normalized(password: string): string {
  return password.normalize('NFC')
}

function tooMany(): IdentityError {
  return new IdentityError('TOO_MANY_REQUESTS', 'Too many passwords are being checked at this moment.', {
    code: 'PASSWORD_CHECKS_LIMIT',
    hint: 'Try again in a moment.',
    retryAfter: RETRY_AFTER_SECONDS,
  })
}
