/** Commands to single devices over REST. */

import { type Static, Type } from '@sinclair/typebox'
import type { Transaction } from 'kysely'
import {
  type CommandProblem,
  CommandRefusedError,
  type CommandService,
  type CommandView,
  type NewCommand,
} from '../../commands/commands.ts'
import type { Database } from '../../database/schema.ts'
import { NO_SITE } from '../../registry/site-scope.ts'
import { type InvalidInput, notFound } from '../http/problem.ts'
import { defineRoute, type Reply, type Route } from '../http/route.ts'
import { type Asking, askApproval, WAITS } from '../http/second-person.ts'
import { notAllowed, operates } from '../http/site-rules.ts'
import { invalidInput, soundMembers } from '../http/validation.ts'
import {
  CommandIdSchema,
  CommandSchema,
  CommandStateSchema,
  CommandStatusSchema,
  commandBody,
  NewCommandSchema,
} from '../schemas/command.ts'
import {
  CREATED_QUERY,
  closed,
  createdRange,
  instant,
  PAGE_QUERY,
  pageBody,
  pageSchema,
  SerialNumberSchema,
  SiteIdSchema,
} from '../schemas/common.ts'

/** What the routes ask of the command service. */
export type Commands = Pick<CommandService, 'create' | 'check' | 'problems' | 'get' | 'list'>

export interface CommandRouteOptions {
  readonly commands: Commands
  /** Of commands that one person may not give alone; without it each may give all. */
  readonly approvals?: Asking | undefined
}

export function commandRoutes({ commands, approvals }: CommandRouteOptions): Route[] {
  const tag = 'commands'
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/commands',
        operationId: 'listCommands',
        tag,
        summary: 'Commands, the newest first, all of them or those that match every criterion given',
        permission: { role: 'viewer', scope: 'site' },
        sites: 'listed',
        query: Type.Object(
          {
            ...PAGE_QUERY,
            device_id: Type.Optional(SerialNumberSchema),
            site_id: Type.Optional(SiteIdSchema),
            status: Type.Optional(CommandStatusSchema),
            delivery_state: Type.Optional(CommandStateSchema),
            ...CREATED_QUERY,
          },
          closed,
        ),
        responses: { 200: { description: 'A page of commands', schema: pageSchema(CommandSchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query, caller }) => {
        const page = await commands.list({
          limit: query.limit,
          cursor: query.cursor,
          deviceId: query.device_id,
          siteId: query.site_id,
          status: query.status,
          deliveryState: query.delivery_state,
          sites: caller.sites('viewer'),
          ...createdRange(query),
        })
        return { status: 200, body: pageBody(page, commandBody) }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/commands',
        operationId: 'createCommand',
        tag,
        summary: 'Send a command to a device',
        description:
          'The command is told on the topic command.events and, when the device is registered, handed to the gateway that ' +
          'has it. A command whose gateway is away waits until it expires. With an Idempotency-Key a repeated request never ' +
          'makes a second command, whatever happened to the first. A type that the setting approvals.commandTypes names waits ' +
          'for a second person.',
        permission: { role: 'operator', scope: 'site' },
        sites: 'listed',
        body: NewCommandSchema,
        alsoWrong: async (body, caller) => inBody(await commands.problems(judgeable(body), operates(caller))),
        idempotent: true,
        activity: 'command',
        responses: { 201: { description: 'The command', schema: CommandSchema }, 202: WAITS },
        problems: ['UNAVAILABLE'],
      },
      async ({ body, remember, caller, activity }) => {
        activity.more({ commandType: body.name, device: body.device_id })
        const also = async (stored: CommandView, transaction: Transaction<Database>) => {
          await remember?.(created(stored), transaction)
        }
        const request = toNewCommand(body)
        const refuse = (error: unknown): never => {
          throw error instanceof CommandRefusedError ? invalidInput(inBody(error.problems)) : notAllowed(error)
        }
        if (approvals?.needed(request.name)) {
          const siteIds = await commands.check(request, operates(caller)).catch(refuse)
          const wanted = { kind: 'command', commandType: request.name, request, siteIds } as const
          return await askApproval(approvals, { ...wanted, requestedBy: caller.id }, remember)
        }
        return created(await commands.create(request, also, operates(caller)).catch(refuse))
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/commands/:id',
        operationId: 'getCommand',
        tag,
        summary: 'One command, and what became of it',
        permission: { role: 'viewer', scope: 'site' },
        sites: {
          async of({ params }) {
            const command = await commands.get(params.id)
            return command && [command.siteId ?? NO_SITE]
          },
          missing: ({ params }) => notFound('command', params.id),
        },
        params: Type.Object({ id: CommandIdSchema }),
        responses: { 200: { description: 'The command', schema: CommandSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => {
        const command = await commands.get(id)
        if (command === null) throw notFound('command', id)
        return { status: 200, body: commandBody(command) }
      },
    ),
  ]
}

function created(command: CommandView): Reply {
  return { status: 201, body: commandBody(command), headers: { location: `/api/v1/commands/${command.id}` } }
}

type CommandMembers = Partial<Static<typeof NewCommandSchema>>

function toNewCommand(body: Static<typeof NewCommandSchema>): NewCommand
function toNewCommand(body: CommandMembers): Partial<NewCommand>
function toNewCommand(body: CommandMembers): Partial<NewCommand> {
  return {
    ...(body.device_id === undefined ? {} : { deviceId: body.device_id }),
    ...(body.name === undefined ? {} : { name: body.name }),
    siteId: body.site_id,
    payload: body.payload,
    expiresAtMs: instant(body.expires_at),
    expiresInMs: body.expires_in_ms,
    timeoutMs: body.timeout_ms,
  }
}

/** What can be judged of a body that the schema refuses. */
function judgeable(body: unknown): Partial<NewCommand> {
  const { device_id, ...members } = soundMembers(NewCommandSchema, body)
  // Without the site that was meant, the device cannot be looked for.
  const siteIsSound = members.site_id !== undefined || !isGiven(body, 'site_id')
  return toNewCommand(siteIsSound ? { device_id, ...members } : members)
}

function isGiven(body: unknown, member: string): boolean {
  return typeof body === 'object' && body !== null && Object.hasOwn(body, member)
}

function inBody(problems: readonly CommandProblem[]): InvalidInput[] {
  return problems.map((problem) => ({ in: 'body' as const, ...problem }))
}
