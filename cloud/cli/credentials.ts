/** Who a command is towards a core: whom a token names, or whoever logged in on this machine. */

import type { Clock } from '../../shared/clock.ts'
import { privacyHint, readChecked } from '../../shared/config/private-file.ts'
import { BusbarError, messageOf } from '../../shared/errors.ts'
import { isLoopback } from '../../shared/loopback.ts'
import { CLOUD_TOKEN_FILE_VARIABLE, CLOUD_TOKEN_VARIABLE } from '../config.ts'
import type { CredentialsFile, StoredLogin } from './credentials-file.ts'

export interface Credentials {
  /**
   * What to send as a bearer token; null to send nothing.
   * @param refused what the core has just not taken: it is asked for because another may do.
   */
  token(refused?: string): Promise<string | null>
  /** What to do when the core asks who this is. */
  readonly hint: string
}

/** Tokens as a login or its renewal gives them. */
export type Renew = (refreshToken: string) => Promise<StoredLogin>

/** An access token is renewed so long before its end, which a slow request might not reach. */
const MARGIN_MS = 15_000
const TOKEN = /^[A-Za-z0-9._~+/=-]{1,4096}$/

/** Shows one token, such as an API key. */
export class TokenCredentials implements Credentials {
  readonly hint =
    `the API key is not taken: make another with \`busbar-cloud api-key create\`, or unset ${CLOUD_TOKEN_VARIABLE}, ${CLOUD_TOKEN_FILE_VARIABLE} and --token-file to use your login`
  private readonly value: string

  constructor(value: string) {
    this.value = value
  }

  token(refused?: string): Promise<string | null> {
    return Promise.resolve(refused === undefined ? this.value : null)
  }
}

/** Shows the access token of a login, and renews it when it ends. */
export class LoginCredentials implements Credentials {
  readonly hint: string
  private readonly file: CredentialsFile
  private readonly origin: string
  private readonly renew: Renew
  private readonly clock: Clock
  /** Undefined until the file was read. */
  private login: StoredLogin | null | undefined

  constructor(options: {
    readonly file: CredentialsFile
    readonly origin: string
    readonly renew: Renew
    readonly clock: Clock
  }) {
    this.file = options.file
    this.origin = options.origin
    this.renew = options.renew
    this.clock = options.clock
    this.hint = `log in: \`busbar-cloud login --url ${this.origin}\`; a program sets ${CLOUD_TOKEN_FILE_VARIABLE}`
  }

  async token(refused?: string): Promise<string | null> {
    this.login ??= this.file.get(this.origin)
    if (this.login === null) return null
    if (this.isGood(this.login, refused)) return this.login.accessToken
    return await this.file.exclusively(async () => {
      // Another command may have renewed it meanwhile.
      const login = this.file.get(this.origin)
      if (login === null || this.isGood(login, refused)) {
        this.login = login
        return login?.accessToken ?? null
      }
      this.login = await this.renewed(login)
      return this.login?.accessToken ?? null
    })
  }

  /** The new tokens are on the disk before the old ones are forgotten. */
  private async renewed(login: StoredLogin): Promise<StoredLogin | null> {
    try {
      const next = await this.renew(login.refreshToken)
      this.file.set(this.origin, next)
      return next
    } catch (error) {
      // Only what the core says ends a login; a core that is away does not.
      if (!(error instanceof BusbarError) || error.code !== 'LOGIN_ENDED') throw error
      this.file.set(this.origin, null)
      throw new BusbarError(`your login at ${this.origin} has ended`, { code: 'LOGIN_ENDED', hint: this.hint })
    }
  }

  private isGood({ accessToken, accessExpiresAtMs }: StoredLogin, refused: string | undefined): boolean {
    return accessToken !== refused && this.clock.wallMs() < accessExpiresAtMs - MARGIN_MS
  }
}

/**
 * A token that a file or the environment has; null for none. Never from an argument, which everybody on the machine can read.
 * @param file as --token-file or its variable names it.
 * @throws BusbarError TOKEN_UNREADABLE, TOKEN_EXPOSED, TOKEN_INVALID
 */
export function givenToken(file: string | undefined, env: Readonly<Record<string, string | undefined>>): string | null {
  const value = env[CLOUD_TOKEN_VARIABLE] ?? ''
  if (file !== undefined && file !== '') return checkedToken(readTokenFile(file), file)
  return value === '' ? null : checkedToken(value, CLOUD_TOKEN_VARIABLE)
}

/** @throws BusbarError CREDENTIALS_IN_CLEAR for a core to which everybody on the way would hear what is sent. */
export function refuseInClear(url: URL): void {
  if (url.protocol === 'https:' || isLoopback(url.hostname)) return
  throw new BusbarError(`${url.origin} is reached without TLS: whoever is on the way would have your credentials`, {
    code: 'CREDENTIALS_IN_CLEAR',
    hint: 'use an https:// address, or an SSH tunnel to one on this machine (ssh -L)',
  })
}

function readTokenFile(file: string): string {
  let checked: ReturnType<typeof readChecked>
  try {
    checked = readChecked(file)
  } catch (cause) {
    throw new BusbarError(`the token file ${file} cannot be read: ${messageOf(cause)}`, {
      code: 'TOKEN_UNREADABLE',
      hint: `set --token-file or ${CLOUD_TOKEN_FILE_VARIABLE} to a file with an API key that this user may read`,
      cause,
    })
  }
  if (checked.exposure === null) return checked.text
  throw new BusbarError(`the token file ${file} is no secret: ${checked.exposure}`, {
    code: 'TOKEN_EXPOSED',
    hint: `${privacyHint(file)}; when others may have read it, revoke the key`,
  })
}

function checkedToken(text: string, source: string): string {
  const token = text.trim()
  if (TOKEN.test(token)) return token
  throw new BusbarError(`what ${source} holds is no token`, {
    code: 'TOKEN_INVALID',
    hint: 'it holds an API key as `busbar-cloud api-key create` shows it, and nothing else',
  })
}
