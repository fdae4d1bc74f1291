/** What a route answers when its command waits for a second person. */

import { type TSchema, Type } from '@sinclair/typebox'
import type { Approval, Approvals, NewApproval } from '../../approvals/approvals.ts'
import { ApprovalSchema, approvalBody } from '../schemas/approval.ts'
import type { Remember, Reply, ResponseDeclaration } from './route.ts'

/** What a route asks of the approvals. */
export type Asking = Pick<Approvals, 'needed' | 'ask'>

export const WAITS: ResponseDeclaration = { description: 'It waits for a second person', schema: ApprovalSchema }

/** Of a route that answers 202 in any case. */
export function orWaits(description: string, schema: TSchema): ResponseDeclaration {
  return {
    description: `${description}; or the request that waits for a second person`,
    schema: Type.Union([schema, ApprovalSchema]),
  }
}

/** Stores the request for a second person, together with the answer that a repeated one gets. */
export async function askApproval(
  approvals: Asking,
  wanted: NewApproval,
  remember: Remember | undefined,
): Promise<Reply> {
  const asked = await approvals.ask(wanted, async (approval, transaction) => {
    await remember?.(waits(approval), transaction)
  })
  return waits(asked)
}

function waits(approval: Approval): Reply {
  return { status: 202, body: approvalBody(approval), headers: { location: `/api/v1/approvals/${approval.id}` } }
}
