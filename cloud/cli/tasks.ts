/** `busbar-cloud task`: commands to many devices, started, followed, cancelled and tried again. */

import { type Command, Option } from 'commander'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import { formatCount } from '../../shared/cli/format.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { taskDeviceBody } from '../api/schemas/task.ts'
import { COMMAND_STATES } from '../gateways/command-state.ts'
import { type ApiFlags, type ApiTools, addApiOptions, type ListFlags, limitOption, writeJson } from './api-options.ts'
import { type ApprovalBody, isApproval, tellWaiting } from './approvals.ts'
import { doneOf, nameOf, paintOutcome, paintState, type TaskBody } from './progress.ts'
import { type StartFlags, taskRequest } from './task-request.ts'
import { watchTask, writeTally } from './task-watch.ts'
import { abortThreshold, collected, decimal, durationMs, positiveInteger, wholeNumber } from './values.ts'

interface WatchFlag {
  readonly watch?: boolean
}
interface KeyFlag {
  readonly idempotencyKey?: string
}
type DeviceBody = ReturnType<typeof taskDeviceBody>

/** @param user who asks where --requested-by does not say and nobody is logged in. */
export function addTaskCommands(line: CommandLine, tools: ApiTools, user: string): void {
  const { action } = line
  const task = line.program.command('task').description('commands to many devices')
  const { terminal } = tools

  addStartOptions(addApiOptions(task.command('start').description('send a command to many devices'))).action(
    action(async (flags: StartFlags & ApiFlags & WatchFlag & KeyFlag) => {
      // What somebody does who is logged in is recorded under their own name.
      const requestedBy = flags.requestedBy ?? (tools.isSomebody(flags) ? undefined : user)
      const request = taskRequest({ ...flags, requestedBy })
      const started = await tools
        .api(flags)
        .post<TaskBody | ApprovalBody>('/api/v1/tasks', request, flags.idempotencyKey)
      return await afterwards(started, flags, tools)
    }),
  )
  addApiOptions(task.command('watch <task>').description('show the progress of a task to its end')).action(
    action((id: string, flags: ApiFlags) => watch(id, flags, tools)),
  )
  addApiOptions(task.command('list').description('list tasks, the newest first'))
    .option('--state <state>', 'only those in this state, such as RUNNING')
    .option('--requested-by <name>', 'only those that this one asked for')
    .addOption(limitOption())
    .action(
      action(async (flags: ApiFlags & ListFlags & { state?: string; requestedBy?: string }) => {
        const query = { state: flags.state, requested_by: flags.requestedBy }
        const page = await tools.api(flags).list<TaskBody>('/api/v1/tasks', query, flags.limit)
        if (flags.json) writeJson(terminal, page.items)
        else writeTasks(page.items, terminal)
        return EXIT_OK
      }),
    )
  addApiOptions(task.command('show <task>').description('show a task, or what became of its devices'))
    .option('--devices', 'list its devices')
    .addOption(new Option('--state <state>', 'list only devices in this state').choices(COMMAND_STATES))
    .addOption(limitOption())
    .action(
      action((id: string, flags: ApiFlags & ListFlags & { devices?: boolean; state?: string }) =>
        show(id, flags, tools),
      ),
    )
  addApiOptions(task.command('cancel <task>').description('give no further device its command'))
    .option('--reason <text>', 'why, for people')
    .action(
      action(async (id: string, flags: ApiFlags & { reason?: string }) => {
        const body = flags.reason === undefined ? {} : { reason: flags.reason }
        const cancelled = await tools.api(flags).post<TaskBody>(`/api/v1/tasks/${encodeURIComponent(id)}/cancel`, body)
        return await afterwards(cancelled, flags, tools)
      }),
    )
  addApiOptions(task.command('retry <task>').description('try the devices again that did not succeed'))
    .option('-w, --watch', 'show the progress to the end')
    .action(
      action(async (id: string, flags: ApiFlags & WatchFlag) => {
        const again = await tools
          .api(flags)
          .post<TaskBody | ApprovalBody>(`/api/v1/tasks/${encodeURIComponent(id)}/retry`, {})
        return await afterwards(again, flags, tools)
      }),
    )
}

function addStartOptions(command: Command): Command {
  return command
    .requiredOption('--type <command>', 'what the devices are to do, such as SET_TOU or REBOOT')
    .addOption(
      new Option('--params <json or key=value>', 'its parameters; key=value may be given several times').argParser(
        collected,
      ),
    )
    .addOption(new Option('--device <serial number>', 'a device; may be given several times').argParser(collected))
    .option('--devices-file <file>', 'devices, one serial number a line; - for standard input')
    .addOption(
      new Option('--site <id>', 'all devices of a site, or where the named ones are').argParser(positiveInteger),
    )
    .option('--device-type <type>', 'all devices of a type, such as METER')
    .option('--requested-by <name>', 'who asks, where nobody logs in')
    .addOption(new Option('--expires-in <time>', 'how long the task may take, such as 2h').argParser(durationMs))
    .addOption(new Option('--timeout <time>', 'how long a device may take to answer').argParser(durationMs))
    .addOption(new Option('--retries <n>', 'further attempts for a device that failed').argParser(wholeNumber))
    .addOption(
      new Option('--retry-backoff <time>', 'longest wait before the first of them; doubles').argParser(durationMs),
    )
    .addOption(new Option('--concurrency <n>', 'devices that may have it at one time').argParser(positiveInteger))
    .addOption(new Option('--rate <n>', 'devices a minute at the beginning').argParser(positiveInteger))
    .addOption(new Option('--rate-growth <factor>', 'what the rate is multiplied with as it goes').argParser(decimal))
    .addOption(
      new Option(
        '--abort <outcome=percent/results>',
        'abort when so many percent of the results, once there are so many, are FAILED, REJECTED, TIMED_OUT, EXPIRED or ' +
          'ANY of them, such as FAILED=20%/50; may be given several times',
      ).argParser(abortThreshold),
    )
    .option('--start-at <time>', 'when to begin, RFC 3339')
    .option('--idempotency-key <key>', 'the same key never starts a second task')
    .option('-w, --watch', 'show the progress to the end')
}

/** The task that was started or changed: shown, or followed to its end. */
async function afterwards(
  task: TaskBody | ApprovalBody,
  flags: ApiFlags & WatchFlag,
  tools: ApiTools,
): Promise<number> {
  const { terminal } = tools
  if (isApproval(task)) return tellWaiting(task, { json: flags.json, followed: flags.watch === true }, terminal)
  if (flags.watch) return await watch(task.taskId, flags, tools)
  if (flags.json) {
    writeJson(terminal, task)
    return EXIT_OK
  }
  terminal.out(`${task.taskId}\n`)
  const devices = `${formatCount(task.device_count)} ${task.device_count === 1 ? 'device' : 'devices'}`
  terminal.err(
    `${task.command_type}, ${devices}, ${paintState(task.state, terminal.paint)}; \`busbar-cloud task watch `,
  )
  terminal.err(`${task.taskId}\` follows it\n`)
  return EXIT_OK
}

async function watch(id: string, flags: ApiFlags, tools: ApiTools): Promise<number> {
  return await watchTask(id, flags.json, { api: tools.api(flags), terminal: tools.terminal, clock: tools.clock })
}

async function show(
  id: string,
  flags: ApiFlags & ListFlags & { devices?: boolean; state?: string },
  { api, terminal }: ApiTools,
): Promise<number> {
  const path = `/api/v1/tasks/${encodeURIComponent(id)}`
  if (flags.devices || flags.state !== undefined) {
    const page = await api(flags).list<DeviceBody>(`${path}/devices`, { state: flags.state }, flags.limit)
    if (flags.json) writeJson(terminal, page.items)
    else {
      writeDevices(page.items, terminal)
      if (page.nextCursor !== null) terminal.err('there are more: --limit shows them\n')
    }
    return EXIT_OK
  }
  const task = await api(flags).get<TaskBody>(path)
  if (flags.json) writeJson(terminal, task)
  else writeTask(task, terminal)
  return EXIT_OK
}

function writeTasks(tasks: readonly TaskBody[], terminal: Terminal): void {
  const rows = tasks.map((task) => [
    task.taskId,
    paintState(task.state, terminal.paint),
    task.command_type,
    formatCount(task.device_count),
    formatCount(doneOf(task)),
    formatCount(task.tally.SUCCEEDED),
    task.requested_by,
    task.created_at,
  ])
  writeTable(terminal, ['TASK', 'STATE', 'COMMAND', 'DEVICES', 'DONE', 'SUCCEEDED', 'BY', 'CREATED'], rows)
}

function writeTask(task: TaskBody, terminal: Terminal): void {
  const { out, paint } = terminal
  const row = (name: string, value: string | null) => {
    if (value !== null) out(`${paint.faint(name.padEnd(9))} ${value}\n`)
  }
  row('task', task.taskId)
  row('command', `${task.command_type} ${JSON.stringify(task.command_params)}`)
  row('by', task.source === 'topic' ? `${task.requested_by}, on task.requested` : task.requested_by)
  row('created', task.created_at)
  row('started', task.started_at)
  row('expires', task.expires_at)
  row('finished', task.finished_at)
  if (task.round > 1) row('round', String(task.round))
  writeTally(task, terminal)
}

function writeDevices(devices: readonly DeviceBody[], terminal: Terminal): void {
  const rows = devices.map((device) => [
    device.device_id,
    device.site_id === null ? '-' : String(device.site_id),
    paintOutcome(device.state, terminal.paint)(nameOf(device.state)),
    String(device.attempt),
    device.finished_at ?? '-',
    device.reason ?? (device.response === null ? '-' : JSON.stringify(device.response)),
  ])
  writeTable(terminal, ['DEVICE', 'SITE', 'OUTCOME', 'ATTEMPTS', 'FINISHED', 'ANSWER'], rows)
}
