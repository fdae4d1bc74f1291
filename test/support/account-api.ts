/** An API with everything by which people and programs log in, as the core has it. */

import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { ApiOptions } from '../../cloud/api/api.ts'
import { apiKeyRoutes } from '../../cloud/api/routes/api-keys.ts'
import { oidcRoutes } from '../../cloud/api/routes/oidc.ts'
import { pageRoutes } from '../../cloud/api/routes/pages.ts'
import { identityRoutes } from '../../cloud/api/routes/users.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import { ApiKeys, OidcLogins } from '../../cloud/identity/identity.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { type ApiCore, startApiCore } from './api-core.ts'
import {
  IDENTITY_SETTINGS,
  type IdentityChanges,
  type IdentityCore,
  identityCore,
  MASTER_KEY,
} from './identity-core.ts'
import type { IdentityProvider } from './identity-provider.ts'
import { tempDir } from './temp-dir.ts'

export interface AccountApi extends IdentityCore {
  readonly core: ApiCore
  readonly url: string
  readonly databaseUrl: string
}

/** Stopped when the test ends. */
export async function startAccountApi(
  options: {
    readonly settings?: IdentityChanges['settings']
    readonly provider?: IdentityProvider
    readonly api?: Partial<ApiOptions>
  } = {},
): Promise<AccountApi> {
  const tools = { clock: systemClock, random: systemRandom, log: silentLogger }
  const databaseUrl = `sqlite:${join(await tempDir(), 'busbar.db')}`
  const database = openDatabase({ url: databaseUrl, ...tools })
  await database.start()
  onTestFinished(() => database.stop())
  const settings = { ...IDENTITY_SETTINGS, recheckMs: 100, ...options.settings }
  let tags: ReadonlySet<string> = new Set()
  const events = { note: () => undefined }
  const apiKeys = new ApiKeys({ database, events, recheckMs: settings.recheckMs, tags: () => tags, ...tools })
  const people = identityCore(database, { settings, apiKeys })
  const { identity } = people
  const { provider, api = {} } = options
  const oidc = provider && {
    ...{ issuer: provider.issuer, clientId: provider.clientId, clientSecret: provider.clientSecret },
    ...{ scope: 'openid profile email', userClaim: 'preferred_username', rolesClaim: 'groups', insecure: true },
    roles: { ops: 'operator@1' },
  }
  const routes = [
    ...identityRoutes({ identity, clock: systemClock }),
    ...apiKeyRoutes({ apiKeys }),
    ...pageRoutes({ identityProvider: oidc !== undefined, passwordLengthMin: settings.passwordLengthMin }),
    ...(oidc === undefined
      ? []
      : oidcRoutes({
          oidc: new OidcLogins({
            ...{ settings: oidc, database, masterKey: MASTER_KEY, events, onChange: () => identity.forgetRights() },
            ...tools,
          }),
          logins: identity.logins,
          publicUrl: '',
          clock: systemClock,
        })),
  ]
  const core = await startApiCore(
    { authentication: identity, routes, recheckMs: settings.recheckMs, ...api },
    databaseUrl,
  )
  tags = new Set(core.api.routes.map(({ tag }) => tag))
  return { ...people, core, url: core.url, databaseUrl }
}
