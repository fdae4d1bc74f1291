/** The database that a config describes; shared by the core and the command line. */

import type { Clock } from '../shared/clock.ts'
import { readTlsFiles } from '../shared/config/pem.ts'
import type { Logger } from '../shared/log.ts'
import type { Random } from '../shared/random.ts'
import type { CloudConfig } from './config.ts'
import { type DatabaseHandle, openDatabase } from './database/database.ts'

/** @throws BusbarError DATABASE_URL_INVALID, or CONFIG_FILE_… when a certificate or a key cannot be used. */
export function databaseFromConfig(
  config: CloudConfig,
  tools: { readonly clock: Clock; readonly random: Random; readonly log: Logger },
): DatabaseHandle {
  const { tls, ...settings } = config.database
  const { serverName } = tls
  return openDatabase({
    ...settings,
    ...(tls.enabled && {
      tls: { ...readTlsFiles('database.tls', tls), ...(serverName !== '' && { serverName }) },
    }),
    ...tools,
  })
}
