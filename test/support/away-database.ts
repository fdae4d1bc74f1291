/** A database that is away for as long as a test wants, as far as transactions go. */

import type { DatabaseHandle } from '../../cloud/database/database.ts'
import { BusbarError } from '../../shared/errors.ts'

export interface AwayDatabase {
  /** To be given to what is tested; the one that it stands before stays as it is. */
  readonly database: DatabaseHandle
  isAway: boolean
  /** Transactions that were asked for, those that failed included. */
  transactions: number
}

export function awayDatabase(real: DatabaseHandle): AwayDatabase {
  const database: DatabaseHandle = Object.create(real)
  const away: AwayDatabase = { database, isAway: false, transactions: 0 }
  database.transaction = (work) => {
    away.transactions++
    if (!away.isAway) return real.transaction(work)
    return Promise.reject(new BusbarError('the database is away', { code: 'DATABASE_UNAVAILABLE', retryable: true }))
  }
  return away
}
