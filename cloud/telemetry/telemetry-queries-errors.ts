/** What is refused of a question about telemetry, so that a caller can say which value is wrong and what it may be. */

import { BusbarError } from '../../shared/errors.ts'

export interface RefusedValue {
  /** Name of the query's member. */
  readonly field: string
  readonly value: unknown
  readonly remedy: string
}

/** Beyond a limit, or contradictory; code QUERY_REFUSED. */
export class QueryRefusedError extends BusbarError {
  readonly refused: readonly RefusedValue[]

  constructor(refused: readonly RefusedValue[]) {
    const named = refused.map(({ field, value, remedy }) => `${field} ${String(value)}: ${remedy}`)
    super(named.join('; '), { code: 'QUERY_REFUSED', hint: 'change the named values and ask again' })
    this.name = 'QueryRefusedError'
    this.refused = refused
  }
}

/** Asked for by id and not registered; code SITE_NOT_FOUND or DEVICES_NOT_FOUND. */
export class NotFoundError extends BusbarError {
  constructor(what: 'site' | 'device', ids: readonly number[]) {
    const message = ids.length === 1 ? `there is no ${what} ${ids[0]}` : `there are no ${what}s ${ids.join(', ')}`
    super(message, {
      code: what === 'site' ? 'SITE_NOT_FOUND' : 'DEVICES_NOT_FOUND',
      hint: `GET /api/v1/${what}s lists those that are registered`,
    })
    this.name = 'NotFoundError'
  }
}
