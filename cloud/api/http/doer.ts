/** Under whose name something is done. */

import type { Caller } from '../../identity/identity.ts'
import type { InvalidInput } from './problem.ts'
import { invalidInput } from './validation.ts'

/**
 * What is wrong with who a caller says it is: whoever is logged in is who they are. A local caller is whoever it says.
 * @param said null when it says nothing.
 */
export function doerProblems(caller: Caller, said: string | null, pointer: string): InvalidInput[] {
  if (caller.kind === 'local' || said === null || said === caller.id) return []
  return [{ in: 'body', pointer, value: said, remedy: `left out, or ${caller.id}: what is done is recorded under it` }]
}

/** @throws Problem INVALID_INPUT for another name than the caller's own. */
export function doerOf(caller: Caller, said: string | undefined, pointer: string): string {
  const problems = doerProblems(caller, said ?? null, pointer)
  if (problems.length > 0) throw invalidInput(problems)
  return said ?? caller.id
}
