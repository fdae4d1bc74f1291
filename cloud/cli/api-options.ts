/** What the commands that ask a running core have in common: where it is, what it is trusted by, and who asks. */

import { type Command, Option } from 'commander'
import type { Terminal } from '../../shared/cli/terminal.ts'
import type { Clock } from '../../shared/clock.ts'
import { readPem } from '../../shared/config/pem.ts'
import type { Random } from '../../shared/random.ts'
import { CLOUD_CA_FILE_VARIABLE, CLOUD_TOKEN_FILE_VARIABLE, CLOUD_URL_VARIABLE } from '../config.ts'
import { ApiClient } from './api-client.ts'
import { type Credentials, givenToken, LoginCredentials, TokenCredentials } from './credentials.ts'
import { CredentialsFile, credentialsPath } from './credentials-file.ts'
import { renewLogin } from './login-tokens.ts'
import { positiveInteger } from './values.ts'

export interface ConnectFlags {
  readonly url: string
  readonly caFile?: string
}

export interface ApiFlags extends ConnectFlags {
  readonly tokenFile?: string
  readonly json: boolean
}

export interface ListFlags {
  readonly limit: number
}

export interface ApiTools {
  readonly terminal: Terminal
  readonly clock: Clock
  /** The core that the flags name, asked by whom they name. */
  api(flags: ApiFlags): ApiClient
  /** The same with what it takes to reach that core by WebSocket, as the same caller. */
  connection(flags: ApiFlags): {
    readonly api: ApiClient
    readonly ca: string | undefined
    readonly credentials: Credentials
  }
  /** The same, asked by nobody. */
  anonymousApi(flags: ConnectFlags): ApiClient
  /** The logins of this user of this machine. */
  credentialsFile(): CredentialsFile
  /** Whether there is anybody to ask as; false where the core must be told who does something. */
  isSomebody(flags: ApiFlags): boolean
}

export type Environment = Readonly<Record<string, string | undefined>>

const DEFAULT_URL = 'http://127.0.0.1:8080'
const LIMIT = 50

export function apiTools(
  terminal: Terminal,
  env: Environment,
  tools: { readonly clock: Clock; readonly random: Random },
): ApiTools {
  const { clock } = tools
  const caOf = ({ caFile = '' }: ConnectFlags) => (caFile === '' ? undefined : readPem('--ca-file', caFile))
  const anonymousApi = (flags: ConnectFlags, credentials?: Credentials) =>
    new ApiClient({
      ...tools,
      url: flags.url,
      ca: caOf(flags),
      ...(credentials === undefined ? {} : { credentials }),
    })
  const credentialsFile = () => new CredentialsFile(credentialsPath(env), clock)
  const credentialsOf = (flags: ApiFlags): Credentials => {
    const token = givenToken(flags.tokenFile, env)
    if (token !== null) return new TokenCredentials(token)
    const asNobody = anonymousApi(flags)
    const renew = (refreshToken: string) => renewLogin(asNobody, refreshToken)
    return new LoginCredentials({ file: credentialsFile(), origin: asNobody.origin, renew, clock })
  }
  return {
    terminal,
    clock,
    api: (flags) => anonymousApi(flags, credentialsOf(flags)),
    connection(flags) {
      const credentials = credentialsOf(flags)
      return { api: anonymousApi(flags, credentials), ca: caOf(flags), credentials }
    },
    anonymousApi: (flags) => anonymousApi(flags),
    credentialsFile,
    isSomebody(flags) {
      if (givenToken(flags.tokenFile, env) !== null) return true
      return credentialsFile().get(anonymousApi(flags).origin) !== null
    },
  }
}

export function addConnectOptions(command: Command): Command {
  return command
    .addOption(new Option('--url <url>', 'address of the core').env(CLOUD_URL_VARIABLE).default(DEFAULT_URL))
    .addOption(
      new Option('--ca-file <file>', 'certificates that it is trusted by, PEM, instead of those of the system').env(
        CLOUD_CA_FILE_VARIABLE,
      ),
    )
}

export function addApiOptions(command: Command): Command {
  return addConnectOptions(command)
    .addOption(
      new Option('--token-file <file>', 'file with an API key, instead of the login of `busbar-cloud login`').env(
        CLOUD_TOKEN_FILE_VARIABLE,
      ),
    )
    .addOption(new Option('--json', 'print JSON, for programs').default(false))
}

export function limitOption(): Option {
  return new Option('--limit <n>', 'list so many at most').argParser(positiveInteger).default(LIMIT)
}

export function writeJson(terminal: Terminal, value: unknown): void {
  terminal.out(`${JSON.stringify(value, null, 2)}\n`)
}
