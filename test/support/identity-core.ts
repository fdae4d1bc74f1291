/** The part of a core that knows people, over a database: with passwords that cost next to nothing. */

import { onTestFinished } from 'vitest'
import type { DatabaseHandle } from '../../cloud/database/database.ts'
import {
  Identity,
  type IdentityOptions,
  type IdentitySettings,
  LOCAL_CALLER,
  type LoginTokens,
  MasterKey,
  type SecurityEvent,
} from '../../cloud/identity/identity.ts'
import type { Grant } from '../../cloud/identity/roles.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'

export const IDENTITY_SETTINGS: IdentitySettings = {
  accessTokenMs: 600_000,
  refreshTokenDays: 14,
  loginDaysMax: 90,
  recheckMs: 5_000,
  passwordLengthMin: 12,
  passwordMemoryKiB: 64,
  passwordChecksMax: 4,
  loginFailuresMax: 5,
  addressFailuresMax: 50,
  lockoutMs: 60_000,
  lockoutMaxMs: 3_600_000,
  setupLinkHours: 24,
}

/** Of every core in a test. */
export const MASTER_KEY = new MasterKey([Buffer.alloc(32, 7)], systemRandom)
export const PASSWORD = 'correct horse battery'
export const CLIENT = { address: '192.0.2.1', userAgent: 'test' }

export interface IdentityCore {
  readonly identity: Identity
  readonly database: DatabaseHandle
  /** What was noted. */
  readonly events: SecurityEvent[]
  /** A user with that password, or `PASSWORD`. */
  addUser(id: string, grants?: readonly Grant[], password?: string | null): Promise<void>
  logIn(id: string, password?: string): Promise<LoginTokens>
}

export type IdentityChanges = Partial<Omit<IdentityOptions, 'settings'>> & {
  readonly settings?: Partial<IdentitySettings>
}

let cores = 0

/** Its duty is not started. Several over one database are several cores. */
export function identityCore(database: DatabaseHandle, changes: IdentityChanges = {}): IdentityCore {
  const events: SecurityEvent[] = []
  const identity = new Identity({
    database,
    masterKey: MASTER_KEY,
    events: { note: (event) => void events.push(event) },
    coreId: `core-i${++cores}`,
    clock: systemClock,
    random: systemRandom,
    log: silentLogger,
    ...changes,
    settings: { ...IDENTITY_SETTINGS, ...changes.settings },
  })
  onTestFinished(() => identity.stop(AbortSignal.timeout(2_000)))
  return {
    identity,
    database,
    events,
    async addUser(id, grants = [], password = PASSWORD) {
      await identity.users.create({ id, grants }, LOCAL_CALLER)
      if (password === null) return
      const link = await identity.users.passwordLink(id, LOCAL_CALLER)
      await identity.passwordLogins.choose(link?.token ?? '', password, '192.0.2.99')
    },
    logIn: (id, password = PASSWORD) => identity.passwordLogins.login(id, password, CLIENT),
  }
}
