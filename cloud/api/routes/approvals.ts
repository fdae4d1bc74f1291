/** What waits for a second person, over REST. */

import { Type } from '@sinclair/typebox'
import { type Approval, ApprovalConflictError, type Approvals } from '../../approvals/approvals.ts'
import { CommandRefusedError } from '../../commands/commands.ts'
import type { Caller } from '../../identity/identity.ts'
import { TaskConflictError, TaskRefusedError } from '../../orchestration/orchestration.ts'
import { NO_SITE } from '../../registry/site-scope.ts'
import { notFound, Problem } from '../http/problem.ts'
import { defineRoute, type Reply, type Route, type SiteRule } from '../http/route.ts'
import {
  ApprovalIdSchema,
  ApprovalSchema,
  ApprovalStateSchema,
  approvalBody,
  DecisionSchema,
} from '../schemas/approval.ts'
import { closed, PAGE_QUERY, pageBody, pageSchema } from '../schemas/common.ts'

type ApprovalService = Pick<Approvals, 'get' | 'list' | 'approve' | 'reject' | 'withdraw'>

const ApprovalParams = Type.Object({ id: ApprovalIdSchema })
const PATH = '/api/v1/approvals'
const tag = 'approvals'

export function approvalRoutes({ approvals }: { readonly approvals: ApprovalService }): Route[] {
  const missing = ({ params }: { readonly params: { readonly id: string } }) => notFound('approval', params.id)
  const sitesOf = ({ siteIds }: Approval): readonly number[] => (siteIds.length === 0 ? [NO_SITE] : siteIds)
  const sites: SiteRule<{ readonly params: { readonly id: string } }> = {
    missing,
    of: async ({ params }) => {
      const approval = await approvals.get(params.id)
      return approval && sitesOf(approval)
    },
  }
  /** Whoever asked for it sees it and may take it back, whatever became of their roles. */
  const own: SiteRule<{ readonly params: { readonly id: string }; readonly caller: Caller }> = {
    missing,
    of: async ({ params, caller }) => {
      const approval = await approvals.get(params.id)
      return approval && (approval.requestedBy === caller.id ? [] : sitesOf(approval))
    },
  }
  const decision = {
    method: 'POST',
    tag,
    permission: { role: 'operator', scope: 'site' },
    params: ApprovalParams,
    body: DecisionSchema,
    bodyOptional: true,
    responses: { 200: { description: 'The request as it is now', schema: ApprovalSchema } },
    problems: ['NOT_FOUND', 'CONFLICT', 'UNAVAILABLE'],
  } as const
  const answer = (approval: Approval | null, id: string): Reply => {
    if (approval === null) throw notFound('approval', id)
    return { status: 200, body: approvalBody(approval) }
  }

  return [
    defineRoute(
      {
        method: 'GET',
        path: PATH,
        operationId: 'listApprovals',
        tag,
        summary: 'Requests for a second person, the newest first',
        permission: { role: 'viewer', scope: 'site' },
        sites: 'listed',
        query: Type.Object({ ...PAGE_QUERY, state: Type.Optional(ApprovalStateSchema) }, closed),
        responses: { 200: { description: 'A page of requests', schema: pageSchema(ApprovalSchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query, caller }) => {
        const page = await approvals.list(query, { scope: caller.sites('viewer'), askedBy: caller.id })
        return { status: 200, body: pageBody(page, approvalBody) }
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: `${PATH}/:id`,
        operationId: 'getApproval',
        tag,
        summary: 'One request for a second person',
        permission: { role: 'viewer', scope: 'site' },
        sites: own,
        params: ApprovalParams,
        responses: { 200: { description: 'The request', schema: ApprovalSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => answer(await approvals.get(id), id),
    ),
    defineRoute(
      {
        ...decision,
        path: `${PATH}/:id/approve`,
        operationId: 'approve',
        summary: 'Do what another person asked for',
        description:
          'By a person who is an operator of every site of it, and not whoever asked. Done once, however often it is sent.',
        sites,
      },
      async ({ params: { id }, body, caller }) => {
        requirePerson(caller)
        return answer(await approvals.approve(id, caller.id, body.note ?? null).catch(explain), id)
      },
    ),
    defineRoute(
      {
        ...decision,
        path: `${PATH}/:id/reject`,
        operationId: 'rejectApproval',
        summary: 'Refuse what another person asked for',
        sites,
      },
      async ({ params: { id }, body, caller }) => {
        requirePerson(caller)
        return answer(await approvals.reject(id, caller.id, body.note ?? null).catch(explain), id)
      },
    ),
    defineRoute(
      {
        ...decision,
        path: `${PATH}/:id/withdraw`,
        operationId: 'withdrawApproval',
        summary: 'Take back what one asked for',
        sites: own,
      },
      async ({ params: { id }, body, caller }) => {
        const approval = await approvals.get(id)
        if (approval !== null && approval.requestedBy !== caller.id) {
          throw new Problem('FORBIDDEN', `Only ${approval.requestedBy} may take it back.`, {
            hint: 'Reject it instead.',
          })
        }
        return answer(await approvals.withdraw(id, caller.id, body.note ?? null).catch(explain), id)
      },
    ),
  ]
}

/** @throws Problem FORBIDDEN */
function requirePerson({ kind }: Caller): void {
  if (kind === 'user') return
  throw new Problem('FORBIDDEN', 'Only a person who is logged in may decide this.', { hint: 'busbar-cloud login' })
}

function explain(error: unknown): never {
  const conflicts = [ApprovalConflictError, CommandRefusedError, TaskRefusedError, TaskConflictError]
  const conflict = conflicts.find((each) => error instanceof each)
  if (conflict === undefined) throw error
  const { message, code, hint } = error as ApprovalConflictError
  throw new Problem('CONFLICT', message, { code, hint, cause: error })
}
