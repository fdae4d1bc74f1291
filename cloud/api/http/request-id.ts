/** The name of a request, by which what came of it is found again: in the answer, in the log and in the activity log. */

import { type Random, randomHex } from '../../../shared/random.ts'

export const REQUEST_ID = 'x-request-id'

/** Short, and nothing that a header, a log line or a terminal would take for something else. */
const FORM = /^[A-Za-z0-9_.:-]{1,128}$/

/** What whoever asks calls it, so that a caller's own log goes by the same name; drawn otherwise. */
export function requestIdOf({ headers }: Request, random: Random): string {
  const given = headers.get(REQUEST_ID)
  return given !== null && FORM.test(given) ? given : `req_${randomHex(random, 12)}`
}
