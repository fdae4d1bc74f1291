/** What conversations refuse of a request, said of the place where it stands in that. */

import { ChatError } from '../../chat/chat.ts'
import { type InvalidInput, Problem, problemOf } from './problem.ts'

/** Where the request has it. */
type Place = Pick<InvalidInput, 'in' | 'pointer'>

/** @param places by the pointer that the service says. Passes on whatever else was thrown. */
export function misplaced(places: Readonly<Record<string, Place>>): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof ChatError) || error.refusal !== 'INVALID_INPUT') throw error
    const problem = problemOf(error)
    const errors = problem.errors?.map((each) => ({ ...each, ...places[each.pointer] }))
    const named = errors?.map(({ pointer, remedy }) => `${pointer}: ${remedy}`).join('; ')
    throw new Problem('INVALID_INPUT', `Not allowed: ${named}.`, {
      ...{ code: error.code, hint: error.hint, cause: error },
      ...(errors === undefined ? {} : { errors }),
    })
  }
}
