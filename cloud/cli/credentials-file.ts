/**
 * The logins of this user of this machine, by core: a file that nobody else can open. Commands that run at once take turns
 * with it, since a refresh token that is sent twice ends the login.
 */

import { chmodSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Clock, sleep } from '../../shared/clock.ts'
import { privacyHint, readChecked } from '../../shared/config/private-file.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { openSqlite, sqliteCode } from '../../shared/sqlite.ts'
import { writeWhole } from '../../shared/whole-file.ts'

export interface StoredLogin {
  readonly userId: string
  readonly accessToken: string
  /** Unix milliseconds. */
  readonly accessExpiresAtMs: number
  readonly refreshToken: string
}

/** What is in the file: by the origin of the core, such as https://busbar.example. */
type Logins = Readonly<Record<string, StoredLogin>>

/** How long another command may have the file; one that renews a login waits for the core. */
const TURN_MS_MAX = 60_000
const TURN_LOOK_MS = 25

export class CredentialsFile {
  private readonly place: string | null
  private readonly clock: Clock

  /** @param path null where there is no place for it: then nobody is logged in, and nobody can be. */
  constructor(path: string | null, clock: Clock) {
    this.place = path
    this.clock = clock
  }

  /** Null when nobody is logged in there. @throws BusbarError CREDENTIALS_EXPOSED, CREDENTIALS_UNREADABLE */
  get(origin: string): StoredLogin | null {
    return this.place === null ? null : (this.read()[origin] ?? null)
  }

  /** Runs `work` while no other command changes the file. @throws BusbarError CREDENTIALS_BUSY, CREDENTIALS_UNWRITABLE */
  async exclusively<T>(work: () => Promise<T>): Promise<T> {
    this.makeDirectory()
    // A lock of the system, which a command that is killed cannot leave behind.
    const lock = openSqlite(`${this.path}.lock`, { busyTimeoutMs: 0 })
    try {
      const beganMs = this.clock.monotonicMs()
      for (;;) {
        try {
          lock.exec('begin exclusive')
          break
        } catch (error) {
          if (sqliteCode(error) !== 'SQLITE_BUSY') throw this.unwritable(error)
        }
        if (this.clock.monotonicMs() - beganMs > TURN_MS_MAX) throw this.busy()
        await sleep(this.clock, TURN_LOOK_MS)
      }
      return await work()
    } finally {
      lock.close()
    }
  }

  /**
   * Within `exclusively`. What was there is there until all of the new is on the disk.
   * @param login null to forget it.
   */
  set(origin: string, login: StoredLogin | null): void {
    const { [origin]: _, ...others } = this.read()
    const logins: Logins = login === null ? others : { ...others, [origin]: login }
    try {
      writeWhole(this.path, `${JSON.stringify({ logins }, null, 2)}\n`)
    } catch (error) {
      throw this.unwritable(error)
    }
  }

  private get path(): string {
    if (this.place !== null) return this.place
    throw new BusbarError('there is no place to keep a login: neither XDG_CONFIG_HOME nor HOME is set', {
      code: 'CREDENTIALS_UNWRITABLE',
      hint: 'set XDG_CONFIG_HOME, or give an API key by BUSBAR_CLOUD_TOKEN_FILE',
    })
  }

  private read(): Logins {
    let text: string
    let exposure: string | null
    try {
      ;({ text, exposure } = readChecked(this.path))
    } catch (cause) {
      if ((cause as { code?: unknown }).code === 'ENOENT') return {}
      throw new BusbarError(`the logins in ${this.path} cannot be read: ${messageOf(cause)}`, {
        code: 'CREDENTIALS_UNREADABLE',
        hint: 'see that this user may read it, or remove it and log in again',
        cause,
      })
    }
    if (exposure !== null) {
      throw new BusbarError(`the logins in ${this.path} are no secret: ${exposure}`, {
        code: 'CREDENTIALS_EXPOSED',
        hint: `${privacyHint(this.path)}; when others may have read it, log out and in again`,
      })
    }
    try {
      return (JSON.parse(text) as { logins?: Logins }).logins ?? {}
    } catch (cause) {
      // The text holds secrets, and the parser would quote it.
      throw new BusbarError(`${this.path} is not what this program writes`, {
        code: 'CREDENTIALS_UNREADABLE',
        hint: 'remove it and log in again',
        cause,
      })
    }
  }

  private makeDirectory(): void {
    const directory = dirname(this.path)
    try {
      const made = mkdirSync(directory, { recursive: true, mode: 0o700 })
      // The mode is limited by the umask, never widened; what was there keeps its own.
      if (made !== undefined) chmodSync(directory, 0o700)
    } catch (error) {
      throw this.unwritable(error)
    }
  }

  private busy(): BusbarError {
    return new BusbarError(`another command has had ${this.path} for ${TURN_MS_MAX / 1000} s`, {
      code: 'CREDENTIALS_BUSY',
      retryable: true,
      hint: 'see what other busbar-cloud runs, and try again when it has ended',
    })
  }

  private unwritable(cause: unknown): BusbarError {
    return new BusbarError(`the logins cannot be kept in ${this.path}: ${messageOf(cause)}`, {
      code: 'CREDENTIALS_UNWRITABLE',
      hint: 'set XDG_CONFIG_HOME to a directory that this user may write to',
      cause,
    })
  }
}

/** Null where there is no place for it. @param env for XDG_CONFIG_HOME and HOME. */
export function credentialsPath(env: Readonly<Record<string, string | undefined>>): string | null {
  const { XDG_CONFIG_HOME: config = '', HOME: home = '' } = env
  if (config === '' && home === '') return null
  return join(config === '' ? join(home, '.config') : config, 'busbar', 'credentials.json')
}
