/** What the activity log says of a login. */

import type { Login } from '../../identity/identity.ts'
import type { ActivityNote } from './activity.ts'

/** Whoever has it did it, in it and to it. */
export function noteLogin(activity: ActivityNote, { id, userId }: Pick<Login, 'id' | 'userId'>): void {
  activity.by(userId)
  activity.session(id)
  activity.about('login', id)
}
