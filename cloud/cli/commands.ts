/** `busbar-cloud command`: a command to one device, sent and followed. */

import { Option } from 'commander'
import { EXIT_FAILED, EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import { sleep } from '../../shared/clock.ts'
import type { commandBody } from '../api/schemas/command.ts'
import { COMMAND_STATES, isFinal } from '../gateways/command-state.ts'
import { type ApiFlags, type ApiTools, addApiOptions, type ListFlags, limitOption, writeJson } from './api-options.ts'
import { type ApprovalBody, isApproval, tellWaiting } from './approvals.ts'
import { nameOf, paintOutcome } from './progress.ts'
import { collected, durationMs, jsonOrMembers, positiveInteger } from './values.ts'

type CommandBody = ReturnType<typeof commandBody>

interface SendFlags extends ApiFlags {
  readonly device: string
  readonly site?: number
  readonly params?: readonly string[]
  readonly expiresIn?: number
  readonly timeout?: number
  readonly idempotencyKey?: string
  readonly wait?: boolean
}

interface CommandListFlags extends ApiFlags, ListFlags {
  readonly device?: string
  readonly site?: number
  readonly status?: string
  readonly state?: string
}

/** Between two looks at a command that is waited for. */
const LOOK_MS = 300

export function addCommandCommands(line: CommandLine, tools: ApiTools): void {
  const { action } = line
  const command = line.program.command('command').description('commands to single devices')
  const { terminal } = tools

  addApiOptions(command.command('send <name>').description('send a command, such as REBOOT, to a device'))
    .requiredOption('--device <serial number>', 'the device')
    .addOption(new Option('--site <id>', 'where it is, when several sites have one').argParser(positiveInteger))
    .addOption(
      new Option('--params <json or key=value>', 'its parameters; key=value may be given several times').argParser(
        collected,
      ),
    )
    .addOption(new Option('--expires-in <time>', 'how long it waits for its device, such as 2h').argParser(durationMs))
    .addOption(new Option('--timeout <time>', 'how long the device may take to answer').argParser(durationMs))
    .option('--idempotency-key <key>', 'the same key never sends a second command')
    .option('-w, --wait', 'wait for the answer; status 1 when the device did not succeed')
    .action(action((name: string, flags: SendFlags) => send(name, flags, tools)))
  addApiOptions(command.command('show <command>').description('show a command and what became of it')).action(
    action(async (id: string, flags: ApiFlags) => {
      writeCommand(await tools.api(flags).get<CommandBody>(pathOf(id)), flags, terminal)
      return EXIT_OK
    }),
  )
  addApiOptions(command.command('list').description('list commands, the newest first'))
    .option('--device <serial number>', 'only those to this device')
    .addOption(new Option('--site <id>', 'only those to devices of this site').argParser(positiveInteger))
    .addOption(new Option('--status <status>', 'only those on command.events or not').choices(['pending', 'sent']))
    .addOption(new Option('--state <state>', 'only those in this state of their way').choices(COMMAND_STATES))
    .addOption(limitOption())
    .action(
      action(async (flags: CommandListFlags) => {
        const { device, site, status, state, limit } = flags
        const query = { device_id: device, site_id: site, status, delivery_state: state }
        const page = await tools.api(flags).list<CommandBody>('/api/v1/commands', query, limit)
        if (flags.json) writeJson(terminal, page.items)
        else writeCommands(page.items, terminal)
        return EXIT_OK
      }),
    )
}

async function send(name: string, flags: SendFlags, { api, terminal, clock }: ApiTools): Promise<number> {
  const request = {
    device_id: flags.device,
    name,
    payload: jsonOrMembers(flags.params ?? []),
    site_id: flags.site,
    expires_in_ms: flags.expiresIn,
    timeout_ms: flags.timeout,
  }
  const client = api(flags)
  const asked = await client.post<CommandBody | ApprovalBody>('/api/v1/commands', request, flags.idempotencyKey)
  if (isApproval(asked)) return tellWaiting(asked, { json: flags.json, followed: flags.wait === true }, terminal)
  let command = asked
  if (command.delivery === null) {
    terminal.err(`${flags.device} is not registered here: only consumers of command.events learn of this command\n`)
  }
  if (!flags.wait) {
    if (flags.json) writeJson(terminal, command)
    else terminal.out(`${command.id}\n`)
    return EXIT_OK
  }
  // What goes to no device is over when it is on command.events.
  while (command.delivery === null ? command.status === 'pending' : !isFinal(command.delivery.state)) {
    await sleep(clock, LOOK_MS)
    command = await client.get<CommandBody>(pathOf(command.id))
  }
  writeCommand(command, flags, terminal)
  return command.delivery?.state === 'SUCCEEDED' ? EXIT_OK : EXIT_FAILED
}

function pathOf(id: string): string {
  return `/api/v1/commands/${encodeURIComponent(id)}`
}

function writeCommand(command: CommandBody, { json }: ApiFlags, terminal: Terminal): void {
  if (json) {
    writeJson(terminal, command)
    return
  }
  const { out, paint } = terminal
  const row = (name: string, value: string | null) => {
    if (value !== null) out(`${paint.faint(name.padEnd(9))} ${value}\n`)
  }
  const { delivery } = command
  row('command', `${command.id} ${command.name} ${JSON.stringify(command.payload)}`)
  row('device', command.site_id === null ? command.device_id : `${command.device_id} at site ${command.site_id}`)
  row('created', command.created_at)
  row('sent', command.sent_at === null ? 'not on command.events yet' : `${command.sent_at}, to command.events`)
  row('expires', command.expires_at)
  if (delivery === null) {
    row('delivery', 'none: the device is not registered')
    return
  }
  const state = paintOutcome(delivery.state, paint)(nameOf(delivery.state))
  row('delivery', delivery.reason === null ? state : `${state}: ${delivery.reason}`)
  row('delivered', delivery.delivered_at)
  row('finished', delivery.finished_at)
  if (delivery.response !== null) row('answer', JSON.stringify(delivery.response))
  const { late } = delivery
  if (late !== null) row('late', `${nameOf(late.state)} at ${late.at} ${JSON.stringify(late.response)}`)
}

function writeCommands(commands: readonly CommandBody[], terminal: Terminal): void {
  const rows = commands.map(({ id, device_id, site_id, name, status, delivery, created_at }) => [
    id,
    device_id,
    site_id === null ? '-' : String(site_id),
    name,
    status,
    delivery === null ? '-' : paintOutcome(delivery.state, terminal.paint)(nameOf(delivery.state)),
    created_at,
  ])
  writeTable(terminal, ['COMMAND', 'DEVICE', 'SITE', 'NAME', 'STATUS', 'DELIVERY', 'CREATED'], rows)
}
