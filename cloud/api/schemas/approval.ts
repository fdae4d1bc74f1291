/** What waits for a second person, as the API shows it. */

import { Type } from '@sinclair/typebox'
import { APPROVAL_ID_PATTERN, APPROVAL_KINDS, APPROVAL_STATES, type Approval } from '../../approvals/approvals.ts'
import { CommandNameSchema } from './command.ts'
import { closed, nullable, SiteIdSchema, TimeSchema, time, timeOrNull } from './common.ts'

export const ApprovalIdSchema = Type.String({
  pattern: APPROVAL_ID_PATTERN.source,
  description: '"apr-" and 16 hexadecimal digits',
})
export const ApprovalStateSchema = Type.Union(APPROVAL_STATES.map((state) => Type.Literal(state)))

const NoteSchema = Type.String({ minLength: 1, maxLength: 1_000, description: 'For whoever reads it later' })

export const ApprovalSchema = Type.Object(
  {
    id: ApprovalIdSchema,
    kind: Type.Union(APPROVAL_KINDS.map((kind) => Type.Literal(kind))),
    command_type: CommandNameSchema,
    request: Type.Unknown({ description: 'What is to be done: devices and parameters' }),
    site_ids: Type.Array(SiteIdSchema, { description: 'Of the devices; empty for one that is not registered' }),
    requested_by: Type.String(),
    requested_at: TimeSchema,
    expires_at: TimeSchema,
    state: ApprovalStateSchema,
    decided_by: nullable(Type.String()),
    decided_at: nullable(TimeSchema),
    note: nullable(Type.String()),
    result_id: nullable(Type.String({ description: 'Of the command or task that came of it' })),
  },
  {
    ...closed,
    $id: 'Approval',
    description: 'A request of one person for a command that needs another one: see the setting approvals.commandTypes',
  },
)

export const DecisionSchema = Type.Object({ note: Type.Optional(NoteSchema) }, { ...closed, $id: 'ApprovalDecision' })

export function approvalBody(approval: Approval) {
  return {
    id: approval.id,
    kind: approval.kind,
    command_type: approval.commandType,
    request: approval.request,
    site_ids: approval.siteIds,
    requested_by: approval.requestedBy,
    requested_at: time(approval.requestedAtMs),
    expires_at: time(approval.expiresAtMs),
    state: approval.state,
    decided_by: approval.decidedBy,
    decided_at: timeOrNull(approval.decidedAtMs),
    note: approval.note,
    result_id: approval.resultId,
  }
}
