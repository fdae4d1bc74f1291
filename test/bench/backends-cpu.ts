/** CPU time of the processes of PostgreSQL that serve one database. */

import pg from 'pg'
import { usageOf } from '../support/process-usage.ts'

/** Milliseconds since each began; connections that ended are not in it. */
export async function backendsCpuMs(databaseUrl: string): Promise<number> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    const { rows } = await client.query<{ pid: number }>(
      'select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
    )
    return rows.reduce((sum, { pid }) => sum + usageOf(pid).cpuMs, 0)
  } finally {
    await client.end()
  }
}
