/** An API that asks people to log in, with the routes by which they do. */

import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { identityRoutes } from '../../cloud/api/routes/users.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import type { Grant } from '../../cloud/identity/identity.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { type ApiCore, startApiCore } from './api-core.ts'
import { type IdentityChanges, type IdentityCore, identityCore } from './identity-core.ts'
import type { JsonAnswer } from './json-request.ts'
import { KeptActivities } from './recorded.ts'
import { tempDir } from './temp-dir.ts'

export interface IdentityApi extends IdentityCore {
  readonly url: string
  readonly core: ApiCore
  readonly kept: KeptActivities
  /** Sends JSON, or text as it is, below /api/v1, as whoever the token is of. */
  send(method: string, path: string, body?: unknown, token?: string | null): Promise<JsonAnswer>
  /** A new user with these roles, logged in. */
  as(id: string, ...grants: readonly Grant[]): Promise<string>
}

/** On a SQLite file of its own; stopped when the test ends. */
export async function startIdentityApi(changes: IdentityChanges = {}): Promise<IdentityApi> {
  const url = `sqlite:${join(await tempDir(), 'busbar.db')}`
  const database = openDatabase({ url, clock: systemClock, log: silentLogger })
  await database.start()
  onTestFinished(() => database.stop())
  const people = identityCore(database, changes)
  const { identity } = people
  const routes = identityRoutes({ identity, clock: systemClock })
  const kept = new KeptActivities()
  const core = await startApiCore({ authentication: identity, routes, activities: kept }, url)
  return {
    ...people,
    url: core.url,
    core,
    kept,
    async send(method, path, body, token = null) {
      const headers = {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      }
      const sent = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }
      const response = await fetch(`${core.url}/api/v1${path}`, { method, headers, ...sent })
      const text = await response.text()
      return { status: response.status, headers: response.headers, body: text === '' ? null : JSON.parse(text) }
    },
    async as(id, ...grants) {
      await people.addUser(id, grants)
      return (await people.logIn(id)).accessToken
    },
  }
}
