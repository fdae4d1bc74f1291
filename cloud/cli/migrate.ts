/** `busbar-cloud migrate`: brings the database to this program's schema, before the cores are started. */

import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { DatabaseHandle } from '../database/database.ts'

/** Starting a database is migrating it; several programs may do so at once. */
export async function migrateDatabase(database: DatabaseHandle, terminal: Terminal): Promise<number> {
  try {
    await database.start()
    terminal.out(`the ${database.dialect} database has the schema of this program\n`)
    return EXIT_OK
  } finally {
    await database.stop()
  }
}
