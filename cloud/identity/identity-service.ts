/**
 * Who somebody is: the parts of identity joined. An access token or an API key goes in, a caller comes out; logging in and users
 * are beside it.
 */

import type { Clock } from '../../shared/clock.ts'
import { HOUR_MS } from '../../shared/durations.ts'
import type { Part } from '../../shared/lifecycle.ts'
import type { Logger } from '../../shared/log.ts'
import type { Random } from '../../shared/random.ts'
import type { DatabaseHandle } from '../database/database.ts'
import { Duty } from '../database/duty.ts'
import { AccessTokens } from './access-token.ts'
import { API_KEY_PREFIX } from './api-key.ts'
import type { Authentication } from './authentication.ts'
import type { Caller } from './caller.ts'
import { IdentityError } from './errors.ts'
import { Lockout, type LockoutSettings } from './lockout.ts'
import { type LoginSettings, Logins } from './logins.ts'
import type { MasterKey } from './master-key.ts'
import { OneTimeLinks } from './one-time-links.ts'
import { PasswordLogins } from './password-logins.ts'
import { type PasswordSettings, Passwords } from './passwords.ts'
import { Rights } from './rights.ts'
import type { SecurityEvents } from './security-events.ts'
import { Setup } from './setup.ts'
import { Users } from './users.ts'

/** The section [identity] of the config has all of them. */
export interface IdentitySettings extends LoginSettings, PasswordSettings, LockoutSettings {
  readonly recheckMs: number
  readonly setupLinkHours: number
}

export interface IdentityOptions {
  readonly database: DatabaseHandle
  readonly masterKey: MasterKey
  readonly events: Pick<SecurityEvents, 'note'>
  readonly settings: IdentitySettings
  /** Takes what looks like an API key; without it there are none. */
  readonly apiKeys?: Authentication & { forgetRights(): void }
  /** Of this process and no other. */
  readonly coreId: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

const PURGE_PERIOD_MS = HOUR_MS

export class Identity implements Authentication, Part {
  readonly name = 'identity'
  readonly users: Users
  readonly logins: Logins
  readonly passwordLogins: PasswordLogins
  readonly setup: Setup
  private readonly options: IdentityOptions
  private readonly tokens: AccessTokens
  private readonly rights: Rights
  private readonly lockout: Lockout
  private readonly purge: Duty

  constructor(options: IdentityOptions) {
    const { database, settings, masterKey, clock, coreId, log } = options
    const { recheckMs, setupLinkHours } = settings
    this.options = options
    this.tokens = new AccessTokens(masterKey.derive('access-token'), clock)
    this.rights = new Rights({ database, clock, recheckMs })
    this.lockout = new Lockout(options)
    const links = new OneTimeLinks({ ...options, lifetimeMs: setupLinkHours * HOUR_MS })
    const passwords = new Passwords(settings)
    const onChange = () => this.forgetRights()
    const common = { ...options, links, passwords, lockout: this.lockout, onChange }
    this.logins = new Logins({ ...common, tokens: this.tokens })
    this.users = new Users(common)
    this.passwordLogins = new PasswordLogins({ ...common, logins: this.logins })
    this.setup = new Setup(common)
    this.purge = new Duty({
      ...{ name: 'identity purge', database, coreId, periodMs: PURGE_PERIOD_MS, clock, log },
      work: async () => {
        await this.logins.purge()
        await links.purge()
        await this.lockout.purge()
      },
    })
  }

  /** Starts removing what is old; everything else works without. */
  async start(): Promise<void> {
    await this.purge.start()
  }

  async stop(deadline: AbortSignal): Promise<void> {
    await this.purge.stop(deadline)
  }

  async authenticate(credential: string | null): Promise<Caller> {
    const { apiKeys, events } = this.options
    if (credential === null) throw unauthenticated('Nobody is logged in.', 'CREDENTIAL_MISSING')
    if (apiKeys !== undefined && credential.startsWith(API_KEY_PREFIX)) return await apiKeys.authenticate(credential)
    const claims = await this.tokens.verify(credential)
    if (claims === 'forged') {
      const detail = 'Somebody showed an access token that no core here signed.'
      events.note({ kind: 'access-token-forged', subject: 'access token', detail })
    }
    if (claims === 'expired') throw unauthenticated('The access token has expired.', 'ACCESS_TOKEN_EXPIRED')
    if (typeof claims === 'string') throw unauthenticated('This is no access token of here.', 'ACCESS_TOKEN_INVALID')
    const caller = await this.rights.of(claims.loginId)
    // The same words for a login that ended, and a user who is disabled.
    if (caller === null || caller.id !== claims.userId) throw unauthenticated('This login has ended.', 'LOGIN_ENDED')
    return caller
  }

  async recheck(callers: readonly Caller[]): Promise<ReadonlyMap<string, Caller>> {
    const keys = callers.filter(({ kind }) => kind === 'api-key')
    const loginIds = callers.flatMap(({ kind, credentialId }) => (kind === 'user' ? (credentialId ?? []) : []))
    const [logins, apiKeys] = await Promise.all([
      this.rights.now(loginIds, 'fresh'),
      keys.length === 0 ? null : (this.options.apiKeys?.recheck(keys) ?? null),
    ])
    const local = callers.filter(({ kind }) => kind === 'local').map((caller) => ['', caller] as const)
    return new Map([...logins, ...(apiKeys ?? []), ...local])
  }

  /** For who changes what somebody may do past these parts: what is remembered of it here is no longer good. */
  forgetRights(): void {
    this.rights.forget()
    this.options.apiKeys?.forgetRights()
  }

  /** Since the start. */
  stats(): IdentityStats {
    const { opened, refreshed, reused } = this.logins.stats()
    const { failures } = this.passwordLogins.stats()
    return { opened, refreshed, reused, failures, refused: this.lockout.stats().refused }
  }
}

export interface IdentityStats {
  /** Logins opened, and refreshed. */
  readonly opened: number
  readonly refreshed: number
  /** Refresh tokens that came a second time. */
  readonly reused: number
  /** Wrong passwords, and attempts that were not looked at after too many of them. */
  readonly failures: number
  readonly refused: number
}

function unauthenticated(message: string, code: string): IdentityError {
  return new IdentityError('UNAUTHENTICATED', message, { code, hint: 'Log in: POST /api/v1/auth/login.' })
}
