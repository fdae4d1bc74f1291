/** A whole core, composed as the program composes it, with one of everything at two sites and callers whose credential says it all. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Route } from '../../cloud/api/http/route.ts'
import { loadCloudConfig } from '../../cloud/config.ts'
import { createCore } from '../../cloud/core.ts'
import { openDatabase } from '../../cloud/database/database.ts'
import { systemClock } from '../../shared/clock.ts'
import { silentLogger } from '../../shared/log.ts'
import { systemRandom } from '../../shared/random.ts'
import { callerNamed, FIXED_CALLERS } from './fixed-callers.ts'
import {
  type Place,
  seedActivity,
  seedConversation,
  seedDeadLetter,
  seedLogin,
  seedNotification,
  seedTwoSites,
} from './two-sites.ts'

export interface WalkCore {
  readonly url: string
  readonly routes: readonly Route[]
  readonly places: readonly [Place, Place]
  /** By caller's name. */
  readonly notifications: ReadonlyMap<string, string>
  stop(): Promise<void>
}

export async function startWalkCore(credentials: readonly string[]): Promise<WalkCore> {
  const dir = await mkdtemp(join(tmpdir(), 'busbar-'))
  const common = { clock: systemClock, log: silentLogger }
  const databaseUrl = `sqlite:${join(dir, 'busbar.db')}`
  const database = openDatabase({ url: databaseUrl, ...common })
  await database.start()
  const places = await seedTwoSites(database)
  await seedDeadLetter(database)
  await seedActivity(database)
  const notifications = new Map<string, string>()
  for (const { id } of credentials.map(callerNamed)) {
    notifications.set(id, await seedNotification(database, id))
    await seedLogin(database, id)
    await seedConversation(database, id)
  }
  await database.stop()
  const config = loadCloudConfig(undefined, {
    BUSBAR_CLOUD_API_PORT: '0',
    BUSBAR_CLOUD_API_INSECURE: 'true',
    BUSBAR_CLOUD_INGEST_PORT: '0',
    BUSBAR_CLOUD_INGEST_INSECURE: 'true',
    BUSBAR_CLOUD_BUS_DIR: join(dir, 'bus'),
    BUSBAR_CLOUD_DATABASE_URL: databaseUrl,
    BUSBAR_CLOUD_IDENTITY_MASTER_KEY_FILE: join(dir, 'master.key'),
  })
  const core = createCore(config, { random: systemRandom, ...common }, FIXED_CALLERS)
  await core.start()
  return {
    url: `http://127.0.0.1:${core.api.address().port}`,
    routes: core.api.routes,
    places,
    notifications,
    async stop() {
      await core.stop()
      await rm(dir, { recursive: true, force: true })
    },
  }
}
