/** `busbar-cloud login`, `logout` and `whoami`. */

import { EXIT_OK } from '../../shared/cli/exit-status.ts'
import type { CommandLine } from '../../shared/cli/program.ts'
import { BusbarError } from '../../shared/errors.ts'
import type { meBody } from '../api/schemas/identity.ts'
import type { ApiClient } from './api-client.ts'
import {
  type ApiFlags,
  type ApiTools,
  addApiOptions,
  addConnectOptions,
  type ConnectFlags,
  writeJson,
} from './api-options.ts'
import { refuseInClear } from './credentials.ts'
import type { StoredLogin } from './credentials-file.ts'
import { grantsText } from './grants.ts'
import { type LoggedInBody, storedLogin } from './login-tokens.ts'
import type { SecretInput } from './secret-input.ts'

interface LoginFlags extends ConnectFlags {
  readonly user?: string
  readonly passwordStdin?: boolean
}

type MeBody = ReturnType<typeof meBody>

const AUTH = '/api/v1/auth'

/** @param user who logs in where --user does not say. */
export function addLoginCommands(line: CommandLine, tools: ApiTools, input: SecretInput, user: string): void {
  const { action, program } = line
  const { terminal } = tools
  addConnectOptions(program.command('login').description('log in with a password, which is asked for'))
    .option('--user <id>', 'who logs in', user === '' ? undefined : user)
    .option('--password-stdin', 'read the password from standard input')
    .addHelpText('after', LOGIN_HELP)
    .action(action((flags: LoginFlags) => login(flags, tools, input)))
  addConnectOptions(program.command('logout').description('end the login of this machine')).action(
    action((flags: ConnectFlags) => logout(flags, tools)),
  )
  addApiOptions(program.command('whoami').description('who the commands are, and what they may do')).action(
    action(async (flags: ApiFlags) => {
      const api = tools.api(flags)
      const me = await api.get<MeBody>(`${AUTH}/me`)
      if (flags.json) {
        writeJson(terminal, me)
        return EXIT_OK
      }
      terminal.out(`${me.id}\n`)
      const { paint, err } = terminal
      err(`${paint.faint('at')} ${api.origin}\n`)
      err(`${paint.faint('roles')} ${grantsText(me.grants)}\n`)
      if (me.scopes !== null) err(`${paint.faint('scopes')} ${me.scopes.join(' ')}\n`)
      return EXIT_OK
    }),
  )
}

const LOGIN_HELP = `
The login is kept in busbar/credentials.json under $XDG_CONFIG_HOME or ~/.config, for this user of this machine alone, and
renews itself while it is used. Programs use an API key instead: busbar-cloud api-key create, and then --token-file,
BUSBAR_CLOUD_TOKEN_FILE or BUSBAR_CLOUD_TOKEN. Who logs in at an identity provider has no password, and makes an API key too.

Examples:
  busbar-cloud login --url https://busbar.example --user ann
  busbar-cloud login --password-stdin < /run/secrets/password`

async function login(flags: LoginFlags, tools: ApiTools, input: SecretInput): Promise<number> {
  const { terminal } = tools
  const { user = '' } = flags
  if (user === '') throw new BusbarError('who logs in?', { code: 'USAGE', hint: 'give --user' })
  const api = tools.anonymousApi(flags)
  // Before anybody types a password that would go in clear.
  refuseInClear(new URL(api.origin))
  const password = flags.passwordStdin
    ? await input.firstLine()
    : await input.ask(`Password of ${user} at ${api.origin}: `)
  const next = storedLogin(await api.postOnce<LoggedInBody>(`${AUTH}/login`, { userId: user, password }))
  const file = tools.credentialsFile()
  const before = await file.exclusively(async () => {
    const known = file.get(api.origin)
    file.set(api.origin, next)
    return known
  })
  // What it replaces is of no more use to anybody.
  if (before !== null) await endLogin(api, before)
  terminal.err(`logged in as ${next.userId} at ${api.origin}\n`)
  return EXIT_OK
}

async function logout(flags: ConnectFlags, tools: ApiTools): Promise<number> {
  const { terminal } = tools
  const api = tools.anonymousApi(flags)
  const file = tools.credentialsFile()
  const login = await file.exclusively(async () => {
    const known = file.get(api.origin)
    // First there, so that a core that is away leaves a login that can still be ended.
    if (known !== null) {
      await api.postOnce(`${AUTH}/logout`, { refreshToken: known.refreshToken })
      file.set(api.origin, null)
    }
    return known
  })
  terminal.err(login === null ? `nobody is logged in at ${api.origin}\n` : `${login.userId} is logged out\n`)
  return EXIT_OK
}

async function endLogin(api: ApiClient, { refreshToken }: StoredLogin): Promise<void> {
  try {
    await api.postOnce(`${AUTH}/logout`, { refreshToken })
  } catch (error) {
    // It ends by itself when it is not used.
    if (!(error instanceof BusbarError)) throw error
  }
}
