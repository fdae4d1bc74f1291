/** `busbar-cloud user`: who may log in, and what they may do. */

import { Argument } from 'commander'
import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { writeTable } from '../../shared/cli/table.ts'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { loginBody, userBody } from '../api/schemas/identity.ts'
import type { Grant } from '../identity/roles.ts'
import { type ApiFlags, type ApiTools, addApiOptions, type ListFlags, limitOption, writeJson } from './api-options.ts'
import { collectedGrants, grantsText } from './grants.ts'

type UserBody = ReturnType<typeof userBody>
type LoginBody = ReturnType<typeof loginBody>

interface AddFlags extends ApiFlags {
  readonly name?: string
  readonly email?: string
}

interface LoginsFlags extends ApiFlags, ListFlags {
  readonly end?: string
  readonly endAll?: boolean
}

const PATH = '/api/v1/users'

export function addUserCommands(line: CommandLine, tools: ApiTools): void {
  const { action } = line
  const { terminal } = tools
  const user = line.program.command('user').description('users, and what they may do')

  addApiOptions(user.command('add <id>').description('make a user, who then needs a password: see password-link'))
    .addArgument(grantsArgument('roles...'))
    .option('--name <name>', 'as others read it')
    .option('--email <address>', 'where to reach them')
    .addHelpText('after', ADD_HELP)
    .action(
      action(async (id: string, grants: readonly Grant[], flags: AddFlags) => {
        const { name, email } = flags
        const body = { id, grants, ...(name === undefined ? {} : { name }), ...(email === undefined ? {} : { email }) }
        const made = await tools.api(flags).post<UserBody>(PATH, body)
        written(made, flags, terminal)
        terminal.err(`${terminal.paint.faint('next:')} \`busbar-cloud user password-link ${id}\` lets them in\n`)
        return EXIT_OK
      }),
    )
  addApiOptions(user.command('list').description('list users'))
    .addOption(limitOption())
    .action(
      action(async (flags: ApiFlags & ListFlags) => {
        const page = await tools.api(flags).list<UserBody>(PATH, {}, flags.limit)
        if (flags.json) writeJson(terminal, page.items)
        else {
          writeUsers(page.items, terminal)
          if (page.nextCursor !== null) terminal.err('there are more: --limit shows them\n')
        }
        return EXIT_OK
      }),
    )
  addApiOptions(user.command('show <id>').description('show a user')).action(
    action(async (id: string, flags: ApiFlags) => written(await tools.api(flags).get(pathOf(id)), flags, terminal)),
  )
  for (const [name, member, description] of [
    ['grant', 'give', 'give roles'],
    ['revoke', 'take', 'take roles'],
  ] as const) {
    addApiOptions(user.command(`${name} <id>`).description(description))
      .addArgument(grantsArgument('roles...'))
      .action(
        action(async (id: string, grants: readonly Grant[], flags: ApiFlags) => {
          const changed = await tools.api(flags).post<UserBody>(`${pathOf(id)}/grants`, { [member]: grants })
          return written(changed, flags, terminal)
        }),
      )
  }
  for (const [name, status, description] of [
    ['disable', 'disabled', 'log a user out everywhere, and let them in no more'],
    ['enable', 'active', 'let a user in again'],
  ] as const) {
    addApiOptions(user.command(`${name} <id>`).description(description)).action(
      action(async (id: string, flags: ApiFlags) =>
        written(await tools.api(flags).patch<UserBody>(pathOf(id), { status }), flags, terminal),
      ),
    )
  }
  addApiOptions(
    user.command('password-link <id>').description('make a link by which a user chooses a password, once'),
  ).action(action((id: string, flags: ApiFlags) => passwordLink(id, flags, tools)))
  addApiOptions(user.command('logins <id>').description('list where you are logged in, or end logins'))
    .option('--end <login>', 'end this one of yours')
    .option('--end-all', 'end all logins of a user, for administrators')
    .addOption(limitOption())
    .action(action((id: string, flags: LoginsFlags) => logins(id, flags, tools)))
}

const ADD_HELP = `
Roles are viewer, operator, engineer, admin and auditor: by itself a role is for every site, with @ and an id for that one.

Examples:
  busbar-cloud user add ann operator@1 operator@2 --name 'Ann Lee'
  busbar-cloud user grant ann engineer@1`

/** Read one by one, so that a wrong one is named. */
function grantsArgument(name: string): Argument {
  return new Argument(`<${name}>`, 'such as viewer or operator@1').argParser<readonly Grant[]>(collectedGrants)
}

function pathOf(id: string): string {
  return `${PATH}/${encodeURIComponent(id)}`
}

async function passwordLink(id: string, flags: ApiFlags, { api, terminal }: ApiTools): Promise<number> {
  const client = api(flags)
  const link = await client.postOnce<{ token: string; expiresAt: string }>(`${pathOf(id)}/password-link`, {})
  // Behind the #, which no browser sends: it comes into no log on the way.
  const url = `${client.origin}/password#${link.token}&${encodeURIComponent(id)}`
  if (flags.json) writeJson(terminal, { url, expiresAt: link.expiresAt })
  else {
    terminal.out(`${url}\n`)
    terminal.err(`good once, until ${link.expiresAt}; whoever has it becomes ${id}, so hand it to nobody else\n`)
  }
  return EXIT_OK
}

async function logins(id: string, flags: LoginsFlags, { api, terminal }: ApiTools): Promise<number> {
  const client = api(flags)
  const path = `${pathOf(id)}/logins`
  if (flags.endAll) {
    const { ended } = await client.delete<{ ended: number }>(path)
    if (flags.json) writeJson(terminal, { ended })
    else terminal.err(`${ended} ${ended === 1 ? 'login' : 'logins'} ended\n`)
    return EXIT_OK
  }
  if (flags.end !== undefined) {
    await client.delete(`${path}/${encodeURIComponent(flags.end)}`)
    return EXIT_OK
  }
  const page = await client.list<LoginBody>(path, {}, flags.limit)
  if (flags.json) writeJson(terminal, page.items)
  else {
    const rows = page.items.map((login) => [
      login.id,
      login.method,
      login.address ?? '-',
      login.createdAt,
      login.refreshedAt,
      login.current ? 'this one' : (login.userAgent ?? '-'),
    ])
    writeTable(terminal, ['LOGIN', 'BY', 'FROM', 'SINCE', 'USED', 'WITH'], rows)
  }
  return EXIT_OK
}

function written(user: UserBody, { json }: ApiFlags, terminal: Terminal): number {
  if (json) {
    writeJson(terminal, user)
    return EXIT_OK
  }
  const row = (name: string, value: string | null) => {
    if (value !== null) terminal.out(`${terminal.paint.faint(name.padEnd(8))} ${value}\n`)
  }
  row('user', user.id)
  row('name', user.name)
  row('email', user.email)
  row('status', user.status)
  row('roles', grantsText(user.grants))
  row('logs in', howTheyLogIn(user))
  row('created', user.createdAt)
  row('last', user.lastLoginAt)
  return EXIT_OK
}

function howTheyLogIn({ hasPassword, oidcSubject }: UserBody): string {
  const ways = [hasPassword ? 'with a password' : '', oidcSubject === null ? '' : `at ${oidcSubject.split(' ')[0]}`]
  return ways.filter((way) => way !== '').join(', ') || 'not yet: there is no password'
}

function writeUsers(users: readonly UserBody[], terminal: Terminal): void {
  const rows = users.map((user) => [
    user.id,
    user.name ?? '-',
    user.status,
    grantsText(user.grants),
    user.lastLoginAt ?? '-',
  ])
  writeTable(terminal, ['USER', 'NAME', 'STATUS', 'ROLES', 'LAST LOGIN'], rows)
}
