/** Tasks over many devices over REST. */

import { type Static, Type } from '@sinclair/typebox'
import { taskMetadata } from '../../activity/activity.ts'
import {
  type NewTask,
  TaskConflictError,
  type TaskProblem,
  TaskRefusedError,
  type Tasks,
  type TaskView,
  type WithTask,
} from '../../orchestration/orchestration.ts'
import { doerOf, doerProblems } from '../http/doer.ts'
import { type InvalidInput, notFound, Problem } from '../http/problem.ts'
import { defineRoute, type Reply, type Route } from '../http/route.ts'
import { type Asking, askApproval, orWaits } from '../http/second-person.ts'
import { atTask, notAllowed, operates } from '../http/site-rules.ts'
import { soundMembers } from '../http/validation.ts'
import { CommandStateSchema } from '../schemas/command.ts'
import { CREATED_QUERY, closed, createdRange, NameSchema, PAGE_QUERY, pageBody, pageSchema } from '../schemas/common.ts'
import {
  NewTaskSchema,
  TaskCancellationSchema,
  TaskDeviceSchema,
  TaskIdSchema,
  TaskRetrySchema,
  TaskSchema,
  TaskStateSchema,
  taskBody,
  taskDeviceBody,
} from '../schemas/task.ts'

/** Errors listed in one answer; the detail says how many there are. */
const ERRORS_MAX = 100

const TaskParams = Type.Object({ id: TaskIdSchema })

type TaskService = Pick<
  Tasks,
  'create' | 'check' | 'commandProblems' | 'sight' | 'get' | 'list' | 'devices' | 'cancel' | 'retry'
>

export interface TaskRouteOptions {
  readonly tasks: TaskService
  /** Of commands that one person may not give alone; without it each may give all. */
  readonly approvals?: Asking | undefined
}

export function taskRoutes({ tasks, approvals }: TaskRouteOptions): Route[] {
  const tag = 'tasks'
  return [
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/tasks',
        operationId: 'listTasks',
        tag,
        summary: 'Tasks, the newest first, all of them or those that match every criterion given',
        permission: { role: 'viewer', scope: 'site' },
        sites: 'listed',
        query: Type.Object(
          {
            ...PAGE_QUERY,
            state: Type.Optional(TaskStateSchema),
            requested_by: Type.Optional(NameSchema),
            ...CREATED_QUERY,
          },
          closed,
        ),
        responses: { 200: { description: 'A page of tasks', schema: pageSchema(TaskSchema) } },
        problems: ['UNAVAILABLE'],
      },
      async ({ query, caller }) => {
        const page = await tasks.list({
          limit: query.limit,
          cursor: query.cursor,
          state: query.state,
          requestedBy: query.requested_by,
          sites: caller.sites('viewer'),
          askedBy: caller.id,
          ...createdRange(query),
        })
        return { status: 200, body: pageBody(page, taskBody) }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/tasks',
        operationId: 'createTask',
        tag,
        summary: 'Send a command to many devices',
        description:
          'The task is told on the topic task.requested, and every device has one response on orchestrator.responses in the ' +
          'end. Devices whose gateway is away wait until the task expires. With an Idempotency-Key a repeated request never ' +
          'makes a second task. A command type that the setting approvals.commandTypes names waits for a second person.',
        permission: { role: 'operator', scope: 'site' },
        sites: 'listed',
        body: NewTaskSchema,
        alsoWrong: async (body, caller) => {
          const { requested_by } = soundMembers(NewTaskSchema, body)
          const given = inBody(tasks.commandProblems(judgeable(body)))
          return [...given, ...doerProblems(caller, requested_by, '/requested_by')]
        },
        idempotent: true,
        activity: 'task',
        responses: { 202: orWaits('The task, which begins', TaskSchema) },
        problems: ['UNAVAILABLE'],
      },
      async ({ body, remember, caller, activity }) => {
        activity.more(taskMetadata(body.command_type, body.device_ids))
        const requestedBy = doerOf({ caller, activity }, body.requested_by, '/requested_by')
        const request = { ...toNewTask(body), requestedBy }
        const also: WithTask = async (stored, transaction) => await remember?.(accepted(stored), transaction)
        const refuse = (error: unknown): never => {
          throw error instanceof TaskRefusedError ? refused(error) : notAllowed(error)
        }
        if (approvals?.needed(request.commandType)) {
          const siteIds = await tasks.check(request, operates(caller)).catch(refuse)
          const { commandType } = request
          return await askApproval(approvals, { kind: 'task', commandType, request, siteIds, requestedBy }, remember)
        }
        return accepted(await tasks.create(request, also, operates(caller)).catch(refuse))
      },
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/tasks/:id',
        operationId: 'getTask',
        tag,
        summary: 'One task with its tally',
        permission: { role: 'viewer', scope: 'site' },
        sites: atTask(tasks, 'seen'),
        params: TaskParams,
        responses: { 200: { description: 'The task', schema: TaskSchema } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id } }) => ({ status: 200, body: taskBody(found(await tasks.get(id), id)) }),
    ),
    defineRoute(
      {
        method: 'GET',
        path: '/api/v1/tasks/:id/devices',
        operationId: 'listTaskDevices',
        tag,
        summary: 'What became of each device of a task, in the order of the request',
        permission: { role: 'viewer', scope: 'site' },
        sites: atTask(tasks, 'seen'),
        params: TaskParams,
        query: Type.Object({ ...PAGE_QUERY, state: Type.Optional(CommandStateSchema) }, closed),
        responses: { 200: { description: 'A page of devices', schema: pageSchema(TaskDeviceSchema) } },
        problems: ['NOT_FOUND', 'UNAVAILABLE'],
      },
      async ({ params: { id }, query }) => {
        return { status: 200, body: pageBody(found(await tasks.devices(id, query), id), taskDeviceBody) }
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/tasks/:id/cancel',
        operationId: 'cancelTask',
        tag,
        summary: 'Give no further device its command, and take back what is still on the way',
        description: 'A device that has its command answers for it all the same.',
        permission: { role: 'operator', scope: 'site' },
        sites: atTask(tasks, 'changed'),
        params: TaskParams,
        body: TaskCancellationSchema,
        bodyOptional: true,
        idempotent: true,
        responses: { 202: { description: 'The task, which ends', schema: TaskSchema } },
        problems: ['NOT_FOUND', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params: { id }, body, remember }) => {
        const task = await tasks
          .cancel(id, body.reason ?? null, async (stored, transaction) => {
            await remember?.(accepted(stored), transaction)
          })
          .catch(explainConflict)
        return accepted(found(task, id))
      },
    ),
    defineRoute(
      {
        method: 'POST',
        path: '/api/v1/tasks/:id/retry',
        operationId: 'retryTask',
        tag,
        summary: 'Try the devices again that failed',
        description: 'Those that succeeded are left alone. The task has as much time again as it had.',
        permission: { role: 'operator', scope: 'site' },
        sites: atTask(tasks, 'changed'),
        params: TaskParams,
        body: TaskRetrySchema,
        bodyOptional: true,
        idempotent: true,
        activity: 'task',
        responses: { 202: orWaits('The task, which begins again', TaskSchema) },
        problems: ['NOT_FOUND', 'CONFLICT', 'UNAVAILABLE'],
      },
      async ({ params: { id }, remember, caller }) => {
        const { commandType, siteIds } = found(await tasks.get(id), id)
        if (approvals?.needed(commandType)) {
          const wanted = { kind: 'task-retry', commandType, request: { taskId: id }, siteIds } as const
          return await askApproval(approvals, { ...wanted, requestedBy: caller.id }, remember)
        }
        const also: WithTask = async (stored, transaction) => await remember?.(accepted(stored), transaction)
        const task = await tasks.retry(id, also, operates(caller)).catch(explainConflict)
        return accepted(found(task, id))
      },
    ),
  ]
}

function accepted(task: TaskView): Reply {
  return { status: 202, body: taskBody(task), headers: { location: `/api/v1/tasks/${task.taskId}` } }
}

function found<T>(thing: T | null, id: string): T {
  if (thing === null) throw notFound('task', id)
  return thing
}

function explainConflict(error: unknown): never {
  if (!(error instanceof TaskConflictError)) throw error
  throw new Problem('CONFLICT', error.message, { code: error.code, hint: error.hint, cause: error })
}

function refused({ problems }: TaskRefusedError): Problem {
  const listed = problems.slice(0, ERRORS_MAX)
  const more = problems.length > ERRORS_MAX ? `, of which the first ${ERRORS_MAX} are listed` : ''
  const detail =
    problems.length === 1 ? 'One value is not allowed.' : `${problems.length} values are not allowed${more}.`
  return new Problem('INVALID_INPUT', detail, { errors: inBody(listed) })
}

function inBody(problems: readonly TaskProblem[]): InvalidInput[] {
  return problems.map((problem) => ({ in: 'body' as const, ...problem }))
}

function toNewTask(body: Static<typeof NewTaskSchema>): Omit<NewTask, 'requestedBy'> {
  return {
    commandType: body.command_type,
    commandParams: body.command_params,
    deviceIds: body.device_ids,
    siteId: body.site_id,
    deviceType: body.device_type,
    options: body.options,
  }
}

/** What can be judged of a body that the schema refuses. */
function judgeable(body: unknown): Partial<NewTask> {
  const { command_type, command_params, options } = soundMembers(NewTaskSchema, body)
  return {
    ...(command_type === undefined ? {} : { commandType: command_type }),
    commandParams: command_params,
    options,
  }
}
