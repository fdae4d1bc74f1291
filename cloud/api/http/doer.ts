/** Under whose name something is done. */

import type { Caller } from '../../identity/identity.ts'
import type { InvalidInput } from './problem.ts'
import type { Call } from './route.ts'
import { invalidInput } from './validation.ts'

/**
 * What is wrong with who a caller says it is: whoever is logged in is who they are; a local caller is whoever it says, and
 * has to say it.
 */
export function doerProblems(
  caller: Caller,
  said: string | undefined,
  pointer: string,
  place: InvalidInput['in'] = 'body',
): InvalidInput[] {
  if (caller.kind === 'local') {
    return said === undefined ? [{ in: place, pointer, remedy: 'required where nobody logs in: who does this' }] : []
  }
  if (said === undefined || said === caller.id) return []
  return [{ in: place, pointer, value: said, remedy: `left out, or ${caller.id}: what is done is recorded under it` }]
}

/**
 * Who does what is asked for, which is recorded under that name.
 * @throws Problem INVALID_INPUT for another name than the caller's own, and for none where nobody logs in.
 */
export function doerOf(
  { caller, activity }: Pick<Call<unknown, unknown, unknown>, 'caller' | 'activity'>,
  said: string | undefined,
  pointer: string,
  place: InvalidInput['in'] = 'body',
): string {
  const problems = doerProblems(caller, said, pointer, place)
  if (problems.length > 0) throw invalidInput(problems)
  const userId = said ?? caller.id
  activity.by(userId)
  return userId
}
