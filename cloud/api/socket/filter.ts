/** What a subscription selects by, and the keys under which events are found by it. */

import { type Static, Type } from '@sinclair/typebox'
import { SERIAL_NUMBER_PATTERN } from '../../../shared/mqtt-topics.ts'
import { AlertIdSchema, AlertRuleIdSchema } from '../schemas/alert.ts'
import { CommandIdSchema } from '../schemas/command.ts'
import { UserIdSchema } from '../schemas/notification.ts'
import { TaskIdSchema } from '../schemas/task.ts'

/** One criterion at most; `{}` is everything. */
export const FilterSchema = Type.Object(
  {
    siteId: Type.Optional(Type.Integer({ minimum: 1 })),
    deviceId: Type.Optional(Type.Integer({ minimum: 1 })),
    serialNumber: Type.Optional(
      Type.String({
        pattern: SERIAL_NUMBER_PATTERN.source,
        description: '1 to 64 letters, digits, ".", "_", ":" or "-"; two sites may have the same',
      }),
    ),
    commandId: Type.Optional(CommandIdSchema),
    taskId: Type.Optional(TaskIdSchema),
    userId: Type.Optional(UserIdSchema),
    alertId: Type.Optional(AlertIdSchema),
    ruleId: Type.Optional(AlertRuleIdSchema),
  },
  {
    additionalProperties: false,
    maxProperties: 1,
    description: 'One criterion, of those that the channel has; {} for everything, but on channels of one user',
  },
)
export type Filter = Static<typeof FilterSchema>
export type FilterName = keyof Filter

/** The criterion of a filter; null for everything. */
export function criterionOf(filter: Filter): FilterName | null {
  for (const [name, value] of Object.entries(filter)) if (value !== undefined) return name as FilterName
  return null
}

/** A subscription's filter as a key. */
export function filterKey(filter: Filter): string {
  const criterion = criterionOf(filter)
  return criterion === null ? 'all' : `${criterion}/${filter[criterion]}`
}

/** Every key under which an event is looked for: one for each way to ask for it. Criteria that are null select none. */
export function keysOf(subject: { readonly [name in FilterName]?: string | number | null }): string[] {
  const keys = ['all']
  for (const [name, value] of Object.entries(subject)) if (value != null) keys.push(`${name}/${value}`)
  return keys
}
