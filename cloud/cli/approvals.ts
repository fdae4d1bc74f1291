/** `busbar-cloud approval`: what waits for a second person, and their word. */

import { Option } from 'commander'
import { EXIT_FAILED, EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { approvalBody } from '../api/schemas/approval.ts'
import { APPROVAL_STATES } from '../approvals/approval.ts'
import { type ApiFlags, type ApiTools, addApiOptions, type ListFlags, limitOption, writeJson } from './api-options.ts'

/** A request for a second person, as the core answers with one. */
export type ApprovalBody = ReturnType<typeof approvalBody>

const PATH = '/api/v1/approvals'
const DECISIONS = {
  approve: 'do what another person asked for',
  reject: 'refuse what another person asked for',
  withdraw: 'take back what you asked for',
} as const

export function addApprovalCommands(line: CommandLine, tools: ApiTools): void {
  const { action } = line
  const { terminal } = tools
  const approval = line.program.command('approval').description('commands that wait for a second person')

  addApiOptions(approval.command('list').description('list what waits, or waited, the newest first'))
    .addOption(new Option('--state <state>', 'only those').choices(APPROVAL_STATES))
    .addOption(limitOption())
    .action(
      action(async (flags: ApiFlags & ListFlags & { readonly state?: string }) => {
        const page = await tools.api(flags).list<ApprovalBody>(PATH, { state: flags.state }, flags.limit)
        if (flags.json) writeJson(terminal, page.items)
        else writeApprovals(page.items, terminal)
        return EXIT_OK
      }),
    )
  addApiOptions(approval.command('show <id>').description('show all of one')).action(
    action(async (id: string, flags: ApiFlags) => {
      writeJson(terminal, await tools.api(flags).get<ApprovalBody>(`${PATH}/${encodeURIComponent(id)}`))
      return EXIT_OK
    }),
  )
  for (const [decision, description] of Object.entries(DECISIONS)) {
    addApiOptions(approval.command(`${decision} <id>`).description(description))
      .option('--note <text>', 'for whoever reads it later')
      .action(
        action(async (id: string, flags: ApiFlags & { readonly note?: string }) => {
          const path = `${PATH}/${encodeURIComponent(id)}/${decision}`
          const body = flags.note === undefined ? {} : { note: flags.note }
          const decided = await tools.api(flags).post<ApprovalBody>(path, body)
          if (flags.json) writeJson(terminal, decided)
          else writeApprovals([decided], terminal)
          return EXIT_OK
        }),
      )
  }
}

/** Whether a command or task that was asked for waits for a second person. */
export function isApproval(answer: object): answer is ApprovalBody {
  return 'result_id' in answer
}

/** What is told then. @param followed whether the end was to be waited for; it has not come, so the status says so. */
export function tellWaiting(
  approval: ApprovalBody,
  { json, followed }: { readonly json: boolean; readonly followed: boolean },
  terminal: Terminal,
): number {
  if (json) writeJson(terminal, approval)
  else terminal.out(`${approval.id}\n`)
  terminal.err(`${approval.command_type} waits for a second person until ${approval.expires_at}: `)
  terminal.err(`\`busbar-cloud approval approve ${approval.id}\`\n`)
  return followed ? EXIT_FAILED : EXIT_OK
}

function writeApprovals(approvals: readonly ApprovalBody[], terminal: Terminal): void {
  const rows = approvals.map((approval) => [
    approval.id,
    approval.state,
    approval.command_type,
    approval.kind,
    approval.site_ids.join(',') || '-',
    approval.requested_by,
    approval.decided_by ?? '-',
    approval.result_id ?? '-',
    approval.state === 'PENDING' ? approval.expires_at : (approval.decided_at ?? approval.expires_at),
  ])
  writeTable(terminal, ['ID', 'STATE', 'TYPE', 'KIND', 'SITES', 'ASKED BY', 'DECIDED BY', 'RESULT', 'UNTIL'], rows)
  if (rows.length === 0) terminal.err('nothing waits for a second person\n')
}
